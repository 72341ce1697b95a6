"""An hour in which all happens to BuildKit, by chance, that otherwise happens in a year."""

import itertools
import random
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from lab import keda
from lab.lifecycle import Lab
from tests.lab.building import BUILDCTL, build, step
from tests.lab.conftest import Installation, Record, configuring, stack_of
from tests.lab.containers import BUILDKITD, GATEWAY, buildkitd_is_killed, kilobytes, named
from tests.lab.load import Build, load
from tests.lab.objects import live, recorded

pytestmark = pytest.mark.soak

COOLDOWN = 15  # seconds
CEILING = 400  # MiB
CONFIGURATION: dict[str, Any] = {
    "buildkit:mode": "statefulset",
    "buildkit:volume": {"size": "1Gi", "storageClass": "lab", "protect": False},
    "buildkit:garbageCollection": {"reservedSpace": "50Mi", "maxUsedSpace": f"{CEILING}Mi"},
    "buildkit:autoscaling": {"min": 0, "max": 1, "cooldown": COOLDOWN},
    "buildkit:drain": {"timeout": 120},
}
LARGE = 1  # MiB of each build that fills the cache
# By the clock that the builds have.
Moment = float
UNITS = {"B": 2**-20, "kB": 1e3 / 2**20, "MB": 1e6 / 2**20, "GB": 1e9 / 2**20}


@pytest.fixture
def installation(lab: Lab, tmp_path: Path) -> Iterator[Installation]:
    """A StatefulSet of one pod or none, with little room."""
    keda.install(lab.node)
    configured = configuring(lab, tmp_path)
    yield next(configured)(CONFIGURATION)
    next(configured, None)


def buildkitd_rolls(installation: Installation) -> None:
    _roll(installation, "statefulset/buildkitd")


def the_gateway_rolls(installation: Installation) -> None:
    _roll(installation, "deployment/buildkit-gateway")


def _roll(installation: Installation, workload: str) -> None:
    installation.kubectl("rollout", "restart", workload)
    installation.kubectl("rollout", "status", workload, "--timeout=300s")


def a_gateway_pod_goes(installation: Installation) -> None:
    pod = random.choice(installation.pods("buildkit-gateway"))
    installation.kubectl("delete", f"pod/{pod}", "--timeout=300s")


def certificates_are_renewed(installation: Installation) -> None:
    stack_of(installation, CONFIGURATION).up("--replace=**LocallySignedCert::**")


HAPPENS: tuple[Callable[[Installation], None], ...] = (
    buildkitd_rolls,
    the_gateway_rolls,
    a_gateway_pod_goes,
    certificates_are_renewed,
    buildkitd_is_killed,
)


@dataclass
class Samples:
    """What was read while it went on."""

    gateway: list[int] = field(default_factory=list)
    """Memory of the largest Envoy that is no file's, in MiB."""
    buildkitd: list[int] = field(default_factory=list)
    """The same of buildkitd."""
    cache: list[int] = field(default_factory=list)
    """MiB that buildkitd keeps."""

    def take(self, installation: Installation) -> None:
        """Read all that is there."""
        for name, pods, into in (
            ("envoy", GATEWAY, self.gateway),
            ("buildkitd", BUILDKITD, self.buildkitd),
        ):
            with suppress(ValueError, OSError):  # there is none, or one has just ended
                pids = named(installation, name, *pods)
                into.append(max(kilobytes(pid, "RssAnon") for pid in pids) // 1024)
        self.cache += _cached(installation)


def _cached(installation: Installation) -> list[int]:
    for pod in installation.pods("buildkitd"):
        du = ("exec", pod, "--", "buildctl", "du")
        said = installation.run(
            "kubectl", "--namespace", installation.outputs["namespace"], *du
        ).stdout
        if found := re.search(r"Total:\s+([\d.]+)([kMG]?B)", said):
            return [round(float(found[1]) * UNITS[found[2]])]
    return []


@contextmanager
def meanwhile(once: Callable[[], None], pause: float = 0) -> Iterator[None]:
    """Do it over and over while this lasts, with so many seconds before each time."""
    stopped = Event()

    def go_on() -> None:
        while not stopped.wait(pause):
            once()

    thread = Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@contextmanager
def large_builds(installation: Installation) -> Iterator[list[str]]:
    """A further client fills the cache while this lasts; what its builds said that were lost."""
    lost: list[str] = []

    def once() -> None:
        dockerfile = step(
            f": {time.time_ns()} && head -c {LARGE}M /dev/urandom > /large && : > /greeting"
        )
        with build(installation, BUILDCTL, dockerfile) as one:
            if one.end(300):
                lost.append(one.last)

    with meanwhile(once):
        yield lost


@contextmanager
def sampled(installation: Installation) -> Iterator[Samples]:
    """Samples that are taken while this lasts."""
    samples = Samples()
    with meanwhile(lambda: samples.take(installation), pause=10):
        yield samples


def no_buildkitd_is_left(installation: Installation) -> None:
    """Wait until there is none, as nobody builds."""
    installation.kubectl("wait", *BUILDKITD, "--for=delete", "--timeout=300s")


def died_with(build: Build, kills: Sequence[tuple[Moment, Moment]]) -> bool:
    """Whether a build was there when its buildkitd was killed, in the course of each of *kills*."""
    return any(build.started <= after and before <= build.ended for before, after in kills)


def quarters(
    samples: Sequence[int], of: Callable[[Sequence[int]], float] = statistics.median
) -> list[int]:
    """What is in the middle of each quarter, or another measure *of* it."""
    size = max(1, len(samples) // 4)
    return [round(of(samples[at : at + size])) for at in range(0, 4 * size, size)]


def test_nothing_is_lost_and_nothing_grows(
    installation: Installation,
    full: bool,
    record_property: Record,
    capsys: pytest.CaptureFixture[str],
) -> None:
    minutes = 55 if full else 6
    begun = time.monotonic()
    random.seed(seed := time.time_ns() % 10_000)
    record_property("minutes", minutes)
    record_property("seed", seed)
    builds: list[Build] = []
    kills: list[tuple[Moment, Moment]] = []
    happened: list[str] = []
    lost_large: list[str] = []

    def happens(what: str) -> None:
        happened.append(what)
        with capsys.disabled():
            passed = (time.monotonic() - begun) / 60
            print(f"\n{passed:.0f} min, {len(builds)} builds: {what}", end="", flush=True)

    # Each happens in turn, in an order of chance, so that none is left out.
    order = itertools.chain.from_iterable(
        random.sample(HAPPENS, len(HAPPENS)) for _ in itertools.count()
    )
    with sampled(installation) as samples:
        while time.monotonic() < begun + 60 * minutes:
            killed = False
            with load(installation, longest=20) as clients, large_builds(installation) as lost:
                clients.wait_until_each_has_built()
                for what in itertools.islice(order, random.randint(1, 2)):
                    happens(what.__name__.replace("_", " "))
                    before = time.monotonic()
                    what(installation)
                    if what is buildkitd_is_killed:
                        killed = True
                        kills.append((before, time.monotonic()))
                    clients.wait_until_each_has_built()
            builds += clients.builds
            lost_large += [] if killed else lost
            happens("nobody builds")
            no_buildkitd_is_left(installation)

    record_property("builds", len(builds))
    record_property("lost with the buildkitd that was killed", sum(bool(b.failure) for b in builds))
    for what in sorted({*happened}):
        record_property(f"times that {what}", happened.count(what))
    for name in ("gateway", "buildkitd"):
        sizes = quarters(getattr(samples, name))
        record_property(f"MiB of the {name}, quarter by quarter", " ".join(map(str, sizes)))
    record_property("MiB of cache at which it is collected", CEILING)
    for measure, said in ((min, "least"), (max, "most")):
        sizes = " ".join(map(str, quarters(samples.cache, measure)))
        record_property(f"MiB of cache at {said}, quarter by quarter", sizes)

    otherwise = [
        f"{(one.started - begun) / 60:.2f} min: {one}"
        for one in builds
        if one.failure and not died_with(one, kills)
    ]
    assert not otherwise, "\n\n".join(otherwise)
    assert not lost_large, "\n\n".join(lost_large)
    for grown in (samples.gateway, samples.buildkitd):
        _, second, _, last = quarters(grown)
        assert last <= 1.25 * second + 5, grown
    # What is built between two collections, and while one is on, comes on top.
    assert max(quarters(samples.cache, min)) < 1.1 * CEILING, samples.cache
    assert max(samples.cache) < 2 * CEILING, samples.cache
    assert live(installation, "scaledobjects") == recorded(installation)
