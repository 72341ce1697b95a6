"""What goes wrong on a machine, and that the next `make up` or `make down` ends well."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import daemons, lifecycle, network
from lab.paths import REPO, STATE
from tests.lab import machine
from tests.lab.conftest import FirstUp, Installation, install, make
from tests.lab.terminal import Terminal

pytestmark = pytest.mark.alone

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


# Last, since what has got a token in that hour (CoreDNS, say) is refused when it is over.
@pytest.mark.last
def test_a_running_lab_goes_on_when_the_clock_jumps(lab: lifecycle.Lab, tmp_path: Path) -> None:
    # Other tests made the stack again since the session began, with another CA.
    installation = install(lab, lab.own_stack().outputs(), tmp_path)
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
    return re.findall(r"(?<![-\w])lab: [^\r\n]*", output)


@pytest.mark.last
def test_a_full_disk_is_named_and_the_next_command_ends_well(small_disk: Path) -> None:
    with at_terminal("up") as starting:
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
UP_POINTS = {
    "containerd": "one-node Kubernetes: (containerd|etcd)",
    "API server": "one-node Kubernetes: kube-apiserver",
    "node": "one-node Kubernetes: (kubelet|kube-proxy|node Ready)",
    "images": "one-node Kubernetes: images",
    "DNS, storage and registry": "DNS, storage and registry",
    "certificates": "tls:index.* creating",
    "Deployments": "Deployment buildkitd creating",
    "first build": "first build by",
}
DOWN_POINTS = {"destroy": "deleting", "node": "stopping the node"}


def assert_ends_at(target: str, point: str) -> None:
    """Ctrl-C when the command says this ends it with one line."""
    with at_terminal(target) as command:
        command.wait_for(point)
        command.interrupt()
        assert command.end() != 0, command.last
    assert said(command.said) == [INTERRUPTED], command.last


@pytest.fixture(scope="module")
def nothing_runs(first_up: FirstUp) -> None:
    assert_down()


@pytest.mark.last
@pytest.mark.parametrize("point", UP_POINTS)
def test_ctrl_c_ends_make_up_with_one_line(nothing_runs: None, point: str) -> None:
    assert_ends_at("up", UP_POINTS[point])


@pytest.mark.last
def test_make_up_ends_well_after_all_these_interruptions(first_up: FirstUp) -> None:
    assert_up()


@pytest.mark.last
@pytest.mark.parametrize("point", DOWN_POINTS)
def test_ctrl_c_ends_make_down_with_one_line(first_up: FirstUp, point: str) -> None:
    assert_ends_at("down", DOWN_POINTS[point])


@pytest.mark.last
def test_make_down_ends_well_after_these_interruptions(first_up: FirstUp) -> None:
    assert_down()
    assert machine.differences(first_up.machine_before, machine.snapshot()) == []


@pytest.mark.last
def test_make_up_ends_well_after_a_kill(first_up: FirstUp) -> None:
    assert_down()
    with at_terminal("up") as command:
        command.wait_for("Deployment buildkitd creating")
        command.kill()
    assert_up()
