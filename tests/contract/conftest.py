from dataclasses import dataclass

import pytest

from tests.contract.cases import CASES, NAME
from tests.recording import Outputs, Recording, Resource, record


@dataclass(frozen=True)
class Made:
    """One component, and everything that it made."""

    kind: str
    component: Resource
    children: list[Resource]
    outputs: Outputs

    def kubernetes(self) -> list[Resource]:
        return [child for child in self.children if child.type.startswith("kubernetes:")]


def made(recording: Recording, kind: str) -> Made:
    component = recording.one(kind, NAME)
    children = [r for r in recording.resources if r is not component]
    return Made(kind, component, children, recording.outputs_of(kind))


@pytest.fixture(scope="package", params=CASES)
def case(request: pytest.FixtureRequest) -> Made:
    """Every component in every variant, one after the other."""
    kind, *_ = request.param.split("-")
    return made(record(lambda: CASES[request.param](None)), kind)
