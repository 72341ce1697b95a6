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

from settings import Mode
from tests.golden.manifests import Case, Object
from tests.recording import AUTO_NAME, REPO

TABLE = REPO / "docs" / "upstream.md"
ABSENT = "absent"
_FILES = {Mode.DEPLOYMENT: "deployment+service"}
# What is called otherwise here: objects by their kinds, and Kubernetes' lists by their fields.
_CALLED = {
    ("Job", "buildkit"): f"build{AUTO_NAME}",
    ("containers", "buildkit"): "buildkitd",
}
# What tells the items of a list apart, where that is not their name.
_KEYS = {"ports": ("containerPort", "port"), "volumeMounts": ("mountPath",)}


class Difference(NamedTuple):
    """A field of upstream's that is another here."""

    path: str
    upstream: str
    here: str

    def of_any_kind(self) -> "Difference":
        """The same in all pods, whatever they are the pods of."""
        path = re.sub(r"^(Pod|\w+\.spec\.template)\.", "*.", self.path)
        return self._replace(path=path)


def manifests(case: Case) -> list[Object]:
    """Upstream's objects for *case*, from the module that buildctl is built from."""
    name = _FILES.get(case.mode, case.mode.value)
    files = [f"{name}.{case.security.value}.yaml"]
    if case.variation == "user-namespaces":
        files.append("sysctl-userns.privileged.yaml")
    directory = module() / "examples" / "kubernetes"
    return [o for file in files for o in yaml.safe_load_all((directory / file).read_text())]


def differences(upstream: list[Object], here: list[Object]) -> Iterator[Difference]:
    """Every field that upstream sets and that is not the same in the object that is it *here*."""
    ours = {(o["kind"], o["metadata"]["name"]): o for o in here}
    for theirs in upstream:
        kind, name = theirs["kind"], theirs["metadata"]["name"]
        yield from _differences(theirs, ours[kind, _called(kind, name)], kind)


def explained() -> dict[Difference, str]:
    """The table's rows: why each field is different."""
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \| (.*?) \|$", TABLE.read_text(), re.M)
    return {Difference(path, upstream, here): why for path, upstream, here, why in rows}


def _differences(theirs: Any, ours: Any, path: str) -> Iterator[Difference]:
    named, of_ours = _by_name(theirs, path), _by_name(ours, path)
    if not isinstance(named, dict) or not isinstance(of_ours, dict):
        if theirs != ours:
            yield Difference(path, _shown(named), _shown(of_ours))
        return
    for name, value in named.items():
        below = f"{path}.{name}" if isinstance(theirs, dict) else f"{path}[{name}]"
        yield from _differences(value, of_ours.get(name), below)


def _by_name(value: Any, path: str) -> Any:
    """*value*, or if it is a list its items, by what tells them apart."""
    field = path.rpartition(".")[2]
    if not isinstance(value, list) or field == "command":
        return value
    if isinstance(value[0], dict):
        keys = _KEYS.get(field, ("name",))
        return {_called(field, str(next(v[k] for k in keys if k in v))): v for v in value}
    # Arguments: a flag goes with its value, and their order says nothing.
    return dict.fromkeys(re.split(r" (?=--)", " ".join(value)), "set")


def _shown(value: Any) -> str:
    """A value as the table has it: of what holds others, their names."""
    if value is None:
        return ABSENT
    if isinstance(value, dict):
        return ", ".join(value) or "{}"
    if isinstance(value, list):
        # A script of many lines has a name, which comes after it.
        return " ".join("…" if "\n" in word else word for word in value)
    return str(value)


def _called(where: str, name: str) -> str:
    return _CALLED.get((where, name), name)


@cache
def module() -> Path:
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
