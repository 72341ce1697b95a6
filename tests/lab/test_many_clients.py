"""Promise 6: many clients, clients that stall, and contexts that are larger than the gateway."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import lifecycle
from tests.lab.both_clients import Build, builds, from_stdin, started
from tests.lab.conftest import Installation, Record, configuring
from tests.lab.gateway_pods import Envoy, envoys
from tests.lab.idle_clients import idle_clients

pytestmark = pytest.mark.alone

CLIENTS = 1000
MEGABYTE = 10**6
MEGABYTES = 300  # megabytes of a context, of which half is there before the rest
RECEIVED = "http.buildkit.downstream_cx_rx_bytes_total"
# Not the default, so that the pod is a new one, which has not grown yet.
KEEPALIVE = 25
TIMEOUT = 10
ANSWERS_WITHIN = KEEPALIVE + TIMEOUT


@pytest.fixture(scope="module")
def alone(lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A gateway of one pod, which has all clients."""
    for configure in configuring(lab, tmp_path_factory.mktemp("alone")):
        installation = configure(
            {
                "buildkit:gateway": {
                    "replicas": 1,
                    "keepalive": KEEPALIVE,
                    "keepaliveTimeout": TIMEOUT,
                },
                # Who prunes has to be.
                "buildkit:clients": {"dev": {"role": "admin"}},
            }
        )
        gateway = installation.outputs["gateway"]
        installation.kubectl("rollout", "status", gateway, "--timeout=120s")
        yield installation


@pytest.fixture
def envoy(alone: Installation) -> Envoy:
    (only,) = envoys(alone)
    return only


@contextmanager
def large(installation: Installation, directory: Path, megabytes: int) -> Iterator[Path]:
    """A context of that size, which is in nobody's cache; buildkitd's copy is thrown away."""
    (directory / "Dockerfile").write_text("FROM scratch\nCOPY large /\n")
    with (directory / "large").open("wb") as file:
        file.write(os.urandom(1024))
        file.truncate(megabytes * MEGABYTE)
    yield directory
    (directory / "large").unlink()
    pruned = installation.buildctl("prune", "--all")
    assert pruned.returncode == 0, pruned.stderr


def small(installation: Installation) -> Path:
    context = installation.directory / "small"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text("FROM debian:bookworm-slim\nRUN true\n")
    return context


@dataclass(frozen=True)
class Stalled:
    """A build of buildx that has half of its context, a tar file; buildx itself answers."""

    build: Build
    rest: bytes

    def go_on(self) -> None:
        assert self.build.process.stdin
        self.build.process.stdin.write(self.rest)
        self.build.process.stdin.close()


@contextmanager
def stalled(installation: Installation, context: Path) -> Iterator[Stalled]:
    tar = ("tar", "--create", "--directory", str(context), ".")
    file = subprocess.run(tar, check=True, capture_output=True).stdout
    half = len(file) // 2
    with started(installation, "stalls", from_stdin(installation), subprocess.PIPE) as build:
        assert build.process.stdin
        build.process.stdin.write(file[:half])
        yield Stalled(build, file[half:])


def assert_others_build(installation: Installation, seconds: float = 0) -> None:
    """Both clients build, over and over for that long."""
    end = time.monotonic() + seconds
    assert_builds(installation)
    while time.monotonic() < end:
        assert_builds(installation)


def assert_builds(installation: Installation) -> None:
    with builds(installation, small(installation)) as running:
        for build in running:
            build.assert_ends_well(within=120)


def test_a_thousand_idle_clients_keep_nobody_from_building(
    alone: Installation, envoy: Envoy, record_property: Record
) -> None:
    assert_builds(alone)
    before = envoy.memory()
    with idle_clients(alone, CLIENTS) as clients:
        assert_builds(alone)
        assert clients.connected() == CLIENTS
        record_property("gateway_mb", round(before / MEGABYTE, 1))
        record_property("gateway_mb_with_idle_clients", round(envoy.memory() / MEGABYTE, 1))
        assert envoy.memory() - before < CLIENTS * 0.05 * MEGABYTE


def test_a_large_context_leaves_the_gateway_s_memory_flat(
    alone: Installation, envoy: Envoy, tmp_path: Path, full: bool, record_property: Record
) -> None:
    megabytes = 5000 if full else MEGABYTES
    envoy.forget_most_memory()
    before, received_before = envoy.memory(), envoy.statistic(RECEIVED)
    with large(alone, tmp_path, megabytes) as context, builds(alone, context) as running:
        for build in running:
            build.assert_ends_well(within=60 + megabytes)
        clients = len(running)
    assert envoy.statistic(RECEIVED) - received_before > clients * megabytes * MEGABYTE
    grown = envoy.most_memory() - before
    record_property("gateway_mb_grown", round(grown / MEGABYTE, 1))
    assert grown < 32 * MEGABYTE


def wait_for_upload(envoy: Envoy, start: int) -> None:
    """Until a good part of a large context has come in."""
    deadline = time.monotonic() + 60
    while envoy.statistic(RECEIVED) - start < 20 * MEGABYTE:
        assert time.monotonic() < deadline


def test_clients_that_stop_or_stall_in_mid_upload_keep_nobody_from_building(
    alone: Installation, envoy: Envoy, tmp_path: Path, full: bool
) -> None:
    pause = 300 if full else 10
    start = envoy.statistic(RECEIVED)
    with large(alone, tmp_path, MEGABYTES) as context, builds(alone, context) as stopped:
        wait_for_upload(envoy, start)
        for build in stopped:
            build.process.send_signal(signal.SIGSTOP)
        with stalled(alone, context) as stalling:
            assert_others_build(alone, pause)
            for build in (*stopped, stalling.build):
                assert build.process.poll() is None, f"{build.client}: {build.output.read_text()}"
            stalling.go_on()
            for build in stopped:
                build.process.send_signal(signal.SIGCONT)
            stalling.build.assert_ends_well(within=120)
        for build in stopped:
            if pause < ANSWERS_WITHIN:
                build.assert_ends_well(within=120)
            else:
                assert build.process.wait(60) != 0
