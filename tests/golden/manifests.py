"""The program's Kubernetes objects as YAML, as they would be applied."""

import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pulumi_buildkit import Security

from render.manifests import Object
from settings import Mode
from tests.recording import AUTO_NAME, Recording, Resource, record_program

DIRECTORY = Path(__file__).parent
SECRET = "SECRET"
# What upstream's Job builds, too.
DOCKERFILE = "FROM alpine\nRUN apk add gcc\n"


class Case(NamedTuple):
    """One way of running the program."""

    mode: Mode
    security: Security
    variation: str = ""
    """What is not as it is by default."""

    def __str__(self) -> str:
        return ".".join(filter(None, (self.mode.value, self.security.value, self.variation)))


# The keys that each variation changes.
_VARIATIONS: dict[str, dict[str, Any]] = {
    "": {},
    "tcp": {"gateway": {"host": "build.example.com", "protocol": "tcp"}},
    "no-gateway": {"gateway": {"enabled": False}},
    "claim": {"gateway": {"enabled": False}, "volume": {"kind": "claim"}},
    "farm": {"farm": {"replicas": {"min": 1, "max": 2}}},
    "user-namespaces": {"userNamespaces": {"enabled": True}},
}
# What a variation changes is the same in every security variant: one shows it.
CASES = [
    *(Case(*choices) for choices in itertools.product(Mode, Security)),
    Case(Mode.POD, Security.ROOTLESS, "user-namespaces"),
    Case(Mode.DEPLOYMENT, Security.ROOTLESS, "tcp"),
    Case(Mode.DEPLOYMENT, Security.ROOTLESS, "no-gateway"),
    Case(Mode.DEPLOYMENT, Security.ROOTLESS, "claim"),
    Case(Mode.STATEFULSET, Security.ROOTLESS, "no-gateway"),
    Case(Mode.STATEFULSET, Security.ROOTLESS, "farm"),
]


def keys(case: Case) -> dict[str, Any]:
    """What the configuration of this *case* has that the dev stack's has not."""
    return {
        "mode": case.mode.value,
        "security": case.security.value,
        "namespace": "build",
        "gateway": {"host": "build.example.com"},
        **({"job": {"files": {"Dockerfile": DOCKERFILE}}} if case.mode is Mode.JOB else {}),
        **_VARIATIONS[case.variation],
    }


@cache
def rendered(case: Case) -> list[Object]:
    """The objects of the dev stack in this *case*, by kind and name."""
    recording = record_program(**keys(case))
    return sorted(applied(recording), key=lambda o: (o["kind"], o["metadata"]["name"]))


def applied(recording: Recording) -> Iterator[Object]:
    """The Kubernetes objects in *recording*, with secrets hidden and auto-named ones named."""
    return (_object(r) for r in recording.resources if r.type.startswith("kubernetes:"))


def _object(resource: Resource) -> Object:
    metadata = {"name": f"{resource.name}{AUTO_NAME}", **resource.inputs["metadata"]}
    shown = {
        key: dict.fromkeys(value, SECRET) if key in resource.secrets else value
        for key, value in resource.inputs.items()
    }
    return {**shown, "metadata": metadata}
