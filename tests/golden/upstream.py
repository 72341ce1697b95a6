"""Upstream's example manifests, field by field, and the table of what is different here."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pulumi_buildkit import Security

from settings import Mode
from tests.recording import REPO

TABLE = REPO / "docs" / "upstream.md"
ABSENT = "absent"
_FILES = {Mode.DEPLOYMENT: "deployment+service"}
# What tells the items of a list apart.
_KEYS = ("containerPort", "port", "name")


class Difference(NamedTuple):
    """A field of upstream's that is another here."""

    path: str
    upstream: str
    here: str


def manifest(mode: Mode, security: Security) -> list[dict[str, Any]]:
    """Upstream's objects for *mode* and *security*, from the module that buildctl is built from."""
    file = _module() / "examples" / "kubernetes" / f"{_FILES[mode]}.{security.value}.yaml"
    return list(yaml.safe_load_all(file.read_text()))


def differences(upstream: list[dict[str, Any]], here: list[dict[str, Any]]) -> Iterator[Difference]:
    """Every field that upstream sets and that is not the same in the object *here* of its name."""
    ours = {(o["kind"], o["metadata"]["name"]): o for o in here}
    for theirs in upstream:
        found = ours[theirs["kind"], theirs["metadata"]["name"]]
        fields = dict(_fields(found, found["kind"]))
        for path, value in _fields(theirs, theirs["kind"]):
            if fields.get(path, ABSENT) != value:
                yield Difference(path, value, fields.get(path, ABSENT))


def explained() -> dict[Difference, str]:
    """The table's rows: why each field is different."""
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \| (.*?) \|$", TABLE.read_text(), re.M)
    return {Difference(path, upstream, here): why for path, upstream, here, why in rows}


def _fields(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _fields(inner, f"{path}.{key}")
    elif isinstance(value, list) and not path.endswith(".command"):
        for key, inner in _items(value):
            yield from _fields(inner, f"{path}[{key}]")
    else:
        yield path, " ".join(value) if isinstance(value, list) else str(value)


def _items(values: list[Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(values[0], dict):
        return ((str(next(v[k] for k in _KEYS if k in v)), v) for v in values)
    # Arguments: a flag goes with its value, and their order says nothing.
    return ((words, "set") for words in re.split(r" (?=--)", " ".join(values)))


@cache
def _module() -> Path:
    # At once, and without network, where the lab's tools have been built.
    result = subprocess.run(
        ["go", "mod", "download", "-json", "github.com/moby/buildkit"],
        cwd=REPO / "lab" / "tools" / "buildkit",
        env={**os.environ, "GOWORK": "off"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return Path(json.loads(result.stdout)["Dir"])
