"""From what Pulumi hands over to settings, or to a line for each mistake."""

import json
from typing import Any

import pulumi
from pulumi.runtime import config as pulumi_config
from pydantic import ValidationError

from settings import preflight, risks
from settings.mistakes import Mistake, Place, culprit, in_order, line, mistake
from settings.rules import RULES
from settings.stack import PROJECT, Settings


def load() -> Settings:
    """The settings of the stack that runs, checked against the cluster that it runs on.

    Warns of what they risk.

    Raises:
        pulumi.RunError: one line for each mistake.
    """
    prefix = f"{PROJECT}:"
    # pulumi.Config answers for known keys only; a misspelt one has to be seen as well.
    values = {**pulumi_config.get_config_env(), **pulumi_config.CONFIG.get()}
    stack = {key.removeprefix(prefix): v for key, v in values.items() if key.startswith(prefix)}
    secrets = frozenset(filter(is_secret, stack))
    settings = parse(stack, secrets)
    for warning in risks.warnings(settings):
        pulumi.log.warn(warning)
    _refuse_for(preflight.check(settings))
    return settings


def checked(settings: Settings, namespace: str) -> str:
    """A *namespace* that Pulumi named, when what is in it goes with *settings*.

    Raises:
        pulumi.RunError: one line for each mistake.
    """
    _refuse_for(preflight.check_in(settings, namespace))
    return namespace


def is_secret(key: str) -> bool:
    """Whether anything below the stack's *key* is a secret."""
    return pulumi_config.is_config_secret(f"{PROJECT}:{key}")


def parse(values: dict[str, str], secrets: frozenset[str] = frozenset()) -> Settings:
    """The settings from *values*, as Pulumi hands them over: text, or JSON for a structured key.

    Raises:
        pulumi.RunError: one line for each mistake, which tells no value of the keys *secrets*.
    """
    settings, mistakes, wrong = _read({key: _decoded(value) for key, value in values.items()})
    for rule in RULES:
        if rule.can_tell(wrong):
            mistakes += rule.mistakes(settings)
    _refuse_for([line(mistake, secrets) for mistake in in_order(mistakes)])
    return settings


def _refuse_for(lines: list[str]) -> None:
    if lines:
        raise pulumi.RunError("\n  ".join(["the stack's configuration can't be used:", *lines]))


def _decoded(value: str) -> Any:
    if not value.startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        # No map and no list, then, which is what the key's own line will say.
        return value


def _read(document: Any) -> tuple[Settings, list[Mistake], set[Place]]:
    """The settings without the values that are wrong, what is wrong, and where."""
    mistakes: list[Mistake] = []
    wrong: set[Place] = set()
    while True:
        try:
            return Settings.model_validate(document), mistakes, wrong
        except ValidationError as error:
            details = error.errors()
        # What is found when the first ones are gone, only they can have brought about.
        mistakes = mistakes or [*map(mistake, details)]
        culprits = {*map(culprit, details)}
        rest = _without(document, culprits)
        if rest == document:
            # pydantic writes a name that is no Unicode another way: its whole section goes.
            culprits = {place[:1] for place in culprits}
            rest = _without(document, culprits)
        wrong |= culprits
        document = rest


def _without(value: Any, culprits: set[Place]) -> Any:
    """*value*, a map or a list, without the *culprits* in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    below = {key: {place[1:] for place in culprits if place[0] == key} for key, _ in items}
    kept = {
        key: _without(value[key], inner) if inner else value[key]
        for key, inner in below.items()
        if () not in inner
    }
    return kept if isinstance(value, dict) else [*kept.values()]
