"""A stack's configuration, as Pulumi hands it over to the program."""

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from render import RenderError
from settings import PROJECT

_READ = ("config", "--json", "--show-secrets", "--non-interactive")


class Configuration(NamedTuple):
    """The values of a stack's keys, each a text, or JSON."""

    values: dict[str, str]
    secrets: frozenset[str]
    """The keys with something encrypted in their values."""


def read(project: Path, stack: str) -> Configuration:
    """The program's own keys from the stack's file in the directory *project*.

    Pulumi's CLI is asked only where something of them is encrypted.

    Raises:
        RenderError: there is no such stack, or something of it can't be read.
    """
    file = _file(project, stack)
    try:
        document = yaml.safe_load(file.read_text()) or {}
        config: dict[str, Any] = {_key(key): v for key, v in (document.get("config") or {}).items()}
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise RenderError(f"{file} is no stack's file ({reason}); mend it") from None
    ours = {key: value for key, value in config.items() if key.startswith(f"{PROJECT}:")}
    secrets = frozenset(key for key, value in ours.items() if _is_encrypted(value))
    values = _decrypted(project, stack, secrets) if secrets else {}
    return Configuration(
        {key: values.get(key, _text(value)) for key, value in ours.items()}, secrets
    )


def _file(project: Path, stack: str) -> Path:
    files = {file.stem.removeprefix("Pulumi."): file for file in project.glob("Pulumi.*.yaml")}
    if stack not in files:
        wrong = f"STACK={stack} has no file Pulumi.{stack}.yaml" if stack else "STACK is missing"
        raise RenderError(f"{wrong}; take one of {', '.join(sorted(files)) or 'none'}")
    return files[stack]


def _key(key: str) -> str:
    return key if ":" in key else f"{PROJECT}:{key}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _is_encrypted(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_is_encrypted, value))
    return isinstance(value, dict) and (
        [*value] == ["secure"] or any(map(_is_encrypted, value.values()))
    )


def _decrypted(project: Path, stack: str, secrets: frozenset[str]) -> dict[str, str]:
    """All values of the *stack*, of which the keys *secrets* are the reason to ask."""
    said = ""
    try:
        asked = subprocess.run(
            ["pulumi", *_READ, "--stack", stack],
            cwd=project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        said = asked.stderr.strip().removeprefix("error: ")
        asked.check_returncode()
        answer = json.loads(asked.stdout)
    except FileNotFoundError:
        said = "its CLI is not on the PATH"
    except (ValueError, subprocess.CalledProcessError) as error:
        said = said or str(error)
    else:
        return {_key(key): each["value"] for key, each in answer.items()}
    raise RenderError(
        f"{', '.join(sorted(secrets))}: is encrypted, and Pulumi does not read it "
        f"({said.splitlines()[0]}); have `pulumi config --show-secrets --stack {stack}` work here"
    )
