"""What goes wrong on a machine, and that the next `make up` or `make down` ends well."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import daemons, lifecycle, network
from lab.paths import REPO, STATE
from tests.lab.conftest import FirstUp, Installation, make
from tests.lab.terminal import Terminal

HOUR = 3600
BUILT = "was built, pushed and read back"
INTERRUPTED = "lab: interrupted; the next make up or make down goes on from here"


def assert_up() -> None:
    """`make up` ends well, with a build through the gateway."""
    result = make("up")
    assert result.returncode == 0, result.stdout + result.stderr
    assert BUILT in result.stdout


def assert_down() -> None:
    result = make("down")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", daemons.DAEMONS)
def test_make_up_mends_a_node_of_which_a_process_was_killed(
    installation: Installation, name: str
) -> None:
    os.kill(installation.lab.node.processes[name], signal.SIGKILL)
    assert_up()
    assert installation.buildctl("debug", "workers").returncode == 0


# A process of its own: it puts the clock right, by the clock that nobody sets, when its input
# ends, and so even when the tests are killed.
CLOCK = """
import sys, time
right = time.time() - time.monotonic()
try:
    time.clock_settime(time.CLOCK_REALTIME, right + time.monotonic() + float(sys.argv[1]))
    print("set", flush=True)
    sys.stdin.read()
finally:
    time.clock_settime(time.CLOCK_REALTIME, right + time.monotonic())
"""


@contextmanager
def clock_ahead_by(seconds: float) -> Iterator[None]:
    clock = subprocess.Popen(
        [sys.executable, "-c", CLOCK, str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert clock.stdout and clock.stdin
    try:
        assert clock.stdout.readline() == b"set\n"
        yield
    finally:
        clock.stdin.close()
        clock.wait()
        clock.stdout.close()


def test_a_running_lab_goes_on_when_the_clock_jumps(installation: Installation) -> None:
    with clock_ahead_by(HOUR):
        assert installation.build("ahead", "an hour ahead").returncode == 0
        assert_up()
    assert installation.build("back", "back again").returncode == 0
    assert_up()
    assert installation.buildctl("debug", "workers").returncode == 0


@pytest.mark.last
def test_a_lab_that_began_in_the_future_is_started_anew(first_up: FirstUp) -> None:
    assert_down()
    with clock_ahead_by(HOUR):
        assert_up()
    result = make("up")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "the clock went back to before the lab's start" in result.stderr
    assert BUILT in result.stdout


@pytest.fixture
def small_disk(first_up: FirstUp, tmp_path: Path) -> Iterator[Path]:
    """A disk of its own for the lab's state; the file that fills it."""
    assert_down()
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(6 << 30)
    STATE.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(disk)], check=True)
    subprocess.run(["mount", "-o", "loop", str(disk), str(STATE)], check=True)
    yield STATE / "ballast"
    lifecycle.stop()
    subprocess.run(["umount", str(STATE)], check=True)
    STATE.rmdir()


def fill(ballast: Path) -> None:
    """Take all that is free on a disk that is not the machine's."""
    assert network.is_mounted(ballast.parent)
    size = 1 << 30
    with ballast.open("wb", buffering=0) as file:
        while size >= 4096:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
            except OSError:
                size //= 2


def said(output: str) -> list[str]:
    """The lines in which the lab says what is wrong; there is never a traceback."""
    assert "Traceback" not in output
    return [line.strip() for line in output.splitlines() if line.startswith("lab: ")]


@pytest.mark.last
def test_a_full_disk_is_named_and_the_next_command_ends_well(small_disk: Path) -> None:
    starting = at_terminal("up")
    starting.wait_for("one-node Kubernetes: images")
    fill(small_disk)
    assert starting.end() != 0
    (line,) = said(starting.said)
    assert f"{STATE} has" in line

    small_disk.unlink()
    assert_up()

    fill(small_disk)
    refused = make("up")
    assert refused.returncode != 0
    (line,) = said(refused.stderr)
    assert f"{STATE} has" in line

    small_disk.unlink()
    assert_up()

    fill(small_disk)
    assert_down()
    assert list(STATE.iterdir()) == []
    assert network.is_mounted(STATE)


def at_terminal(target: str) -> Terminal:
    kept = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "MAKEFLAGS")}
    return Terminal(["make", "--no-print-directory", target], REPO, kept)


# In this order: what a command meets is what the one before it, interrupted, has left.
POINTS = {
    "up: containerd": "one-node Kubernetes: (containerd|etcd)",
    "up: API server": "one-node Kubernetes: kube-apiserver",
    "up: node": "one-node Kubernetes: (kubelet|kube-proxy|node Ready)",
    "up: images": "one-node Kubernetes: images",
    "up: DNS, storage and registry": "DNS, storage and registry",
    "up: certificates": "tls:index.* creating",
    "up: Deployments": "Deployment buildkitd creating",
    "up: first build": "first build through the gateway",
    "down: destroy": "deleting",
    "down: node": "stopping the node",
}


@pytest.fixture(scope="module")
def nothing_runs(first_up: FirstUp) -> None:
    assert_down()


@pytest.mark.last
@pytest.mark.parametrize("point", POINTS)
def test_ctrl_c_ends_a_command_with_one_line(nothing_runs: None, point: str) -> None:
    command = at_terminal(point.partition(":")[0])
    command.wait_for(POINTS[point])
    command.interrupt()
    assert command.end() != 0, command.last
    assert said(command.said) == [INTERRUPTED], command.last
