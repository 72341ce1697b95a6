"""The Python packages that are pinned: by a lock file, and as they are installed."""

import functools
import importlib.metadata
import json
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from packaging.licenses import canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPO = Path(__file__).resolve().parent.parent
PROGRAM = REPO / "requirements.lock"
"""What the program runs with."""
DEVELOPMENT = REPO / "requirements-dev.lock"
"""The same, and what lab, tests and docs run with."""
LIBRARY: dict[str, Any] = tomllib.loads((REPO / "components/pyproject.toml").read_text())["project"]

# What older metadata says in its own words, by https://spdx.org/licenses.
_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License Version 2.0": "Apache-2.0",
    "MIT License": "MIT",
}


class Plugin(NamedTuple):
    """A provider, as a program of its own."""

    name: str
    version: str
    licence: str = "Apache-2.0"
    """Of each of them: https://github.com/pulumi/pulumi-kubernetes/blob/master/LICENSE."""


class Package(NamedTuple):
    """A package that is pinned."""

    requirement: Requirement
    hashes: tuple[str, ...]
    """SHA-256 of each of its files, of which pip takes the one for its platform."""

    @property
    def name(self) -> str:
        """Its name, as registries compare it."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The one that is pinned."""
        (only,) = self.requirement.specifier
        return only.version

    @property
    def licence(self) -> str:
        """What the installed package says of its licence, as an SPDX expression.

        Raises:
            ValueError: it says something else.
        """
        of: Any = importlib.metadata.metadata(self.name)
        classifiers = (
            line.rpartition(" :: ")[2]
            for line in of.get_all("Classifier", [])
            if line.startswith("License :: ")
        )
        said = of["License-Expression"] or of["License"] or next(classifiers, "")
        return canonicalize_license_expression(_SPDX.get(said, said))

    @property
    def needs(self) -> set[str]:
        """The names of the packages that the installed one needs, on this platform."""
        needed = map(Requirement, importlib.metadata.requires(self.name) or [])
        return {
            canonicalize_name(one.name)
            for one in needed
            if not one.marker or one.marker.evaluate({"extra": ""})
        }

    @property
    def plugin(self) -> Plugin | None:
        """What Pulumi's CLI installs for the package, if it is a provider's."""
        if not self.name.startswith("pulumi-"):
            return None
        file = resources.files(self.name.replace("-", "_")) / "pulumi-plugin.json"
        of = json.loads(file.read_text())
        return Plugin(of["name"], of["version"])


@functools.cache
def pinned(lock: Path = PROGRAM) -> tuple[Package, ...]:
    """What a *lock* file pins."""
    return tuple(_packages(lock.read_text()))


def _packages(text: str) -> Iterator[Package]:
    for line in text.replace("\\\n", "").splitlines():
        if line and not line.startswith((" ", "#")):
            requirement, *hashes = line.split("--hash=sha256:")
            yield Package(Requirement(requirement), tuple(each.strip() for each in hashes))


def asked_for(lock: Path = PROGRAM) -> list[Requirement]:
    """What a *lock* file is made for: the packages that are asked for by name."""
    lines = [*lock.with_suffix(".txt").read_text().splitlines(), *LIBRARY["dependencies"]]
    return [Requirement(line) for line in lines if not line.startswith(("#", "-"))]
