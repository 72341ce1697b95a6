"""The program's Kubernetes objects as YAML, as they would be applied."""

import itertools
import runpy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pulumi_buildkit import Protocol, Security

from settings import Mode
from tests.recording import AUTO_NAME, REPO, Recording, Resource, record, stack_config

DIRECTORY = Path(__file__).parent
SECRET = "SECRET"

Object = dict[str, Any]


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, and no references to what was said above."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


class Case(NamedTuple):
    """One way of running the program."""

    mode: Mode
    security: Security
    protocol: Protocol

    def __str__(self) -> str:
        return ".".join(choice.value for choice in self)


CASES = [Case(*choices) for choices in itertools.product(Mode, Security, Protocol)]


@cache
def rendered(case: Case) -> list[Object]:
    """The objects of the dev stack in this *case*, by kind and name."""
    config = {
        **stack_config("dev"),
        "buildkit:mode": case.mode.value,
        "buildkit:security": case.security.value,
        "buildkit:gateway": f'{{"host": "build.example.com", "protocol": "{case.protocol.value}"}}',
        "buildkit:namespace": "build",
    }
    objects = _objects(record(lambda: runpy.run_path(str(REPO / "__main__.py")), config))
    return sorted(objects, key=lambda o: (o["kind"], o["metadata"]["name"]))


def dumped(objects: list[Object]) -> str:
    """The objects as one YAML text."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=True, width=100)


def _objects(recording: Recording) -> Iterator[Object]:
    return (_object(r) for r in recording.resources if r.type.startswith("kubernetes:"))


def _object(resource: Resource) -> Object:
    metadata = {"name": f"{resource.name}{AUTO_NAME}", **resource.inputs["metadata"]}
    shown = {
        key: dict.fromkeys(value, SECRET) if key in resource.secrets else value
        for key, value in resource.inputs.items()
    }
    return {**shown, "metadata": metadata}
