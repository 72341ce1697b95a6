"""What a stack asks for, on a cluster that does not have it."""

import re
from collections.abc import Iterator

import pytest

from lab import keda, lifecycle
from lab.engine import StackError
from tests.lab import operator_kinds
from tests.lab.conftest import Configured, Installation, configuring, refusal
from tests.lab.test_autoscaling import SCALED

pytestmark = pytest.mark.alone


@pytest.fixture
def changed(lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    """The dev stack, which goes from one configuration to the next, where no KEDA is."""
    keda.remove(lab.node)
    yield from configuring(lab, tmp_path_factory.mktemp("keda"))


def test_the_preview_says_how_to_have_keda_and_nothing_is_made(
    installation: Installation, changed: Configured
) -> None:
    made = ("get", "services,statefulsets,persistentvolumeclaims", "--output=name")
    before = installation.kubectl(*made)
    said = refusal(installation, SCALED)
    with pytest.raises(StackError):
        changed(SCALED)
    assert re.search(r"buildkit:autoscaling: needs KEDA,.* helm install keda keda --repo ", said)
    assert installation.kubectl(*made) == before


def test_the_preview_says_how_to_have_the_prometheus_operator(installation: Installation) -> None:
    operator_kinds.remove(installation.lab.node)
    said = refusal(installation, {"buildkit:monitoring": {"podMonitor": True, "rules": True}})
    assert "buildkit:monitoring: needs the Prometheus operator" in said
