"""`make status`: what a person sees of a stack, while somebody builds and after somebody failed."""

import re

import pytest

from lab import LabError
from lab.node import until
from status.__main__ import status
from tests.lab.building import BEGUN, BUILDCTL, build, step, waits
from tests.lab.conftest import Installation


@pytest.fixture
def shown(installation: Installation, capfd: pytest.CaptureFixture[str]) -> "Screen":
    return Screen(installation, capfd)


class Screen:
    """What is printed, asked anew each time."""

    def __init__(self, installation: Installation, capfd: pytest.CaptureFixture[str]) -> None:
        self._installation = installation
        self._capfd = capfd

    def has(self, line: str) -> bool:
        """Whether a line of it is like this."""
        return re.search(rf"(?m)^{line}\s*$", self.read()) is not None

    def read(self) -> str:
        self._capfd.readouterr()
        status(self._installation.outputs, str(self._installation.lab.node.kubeconfig))
        return self._capfd.readouterr().out

    def wait_for(self, line: str) -> None:
        until(lambda: self.has(line), 60, lambda: LabError(f"no {line!r} in\n{self.read()}"))


def test_it_says_what_runs_what_it_keeps_and_what_ends_when(shown: Screen) -> None:
    assert shown.has(r"  buildkit-gateway-\S+ +ready .*envoyproxy/envoy:v\S+")
    assert shown.has(r"  buildkitd-\S+ +ready .*moby/buildkit:v\S+")
    assert shown.has(r"  buildkitd-\S+ +[\d.]+[kMG]?B +its disk of [\d.]+ GiB is \d+ % full")
    assert shown.has(r"  dev +\d{4}-\d\d-\d\d +36\d days left")


def test_it_says_who_builds_and_who_failed(shown: Screen, installation: Installation) -> None:
    with build(installation, BUILDCTL, waits()) as running:
        running.wait_for(BEGUN)
        shown.wait_for(r"builds: [1-9]\d*")
        shown.wait_for(r"  dev +since \d\d:\d\d:\d\dZ +\d+ (s|min) +\d\S+")
    shown.wait_for(r"  dev +\d+ (s|min) ago +the client went away")
    with build(installation, BUILDCTL, step("exit 1")) as failing:
        failing.fails("exit code: 1")
    shown.wait_for(r"  dev +\d+ (s|min) ago +Unknown: via_upstream")
