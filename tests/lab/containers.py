"""The processes in the containers of pods, to be read, killed or stopped from outside."""

import os
import re
import signal
from contextlib import suppress
from pathlib import Path

from lab import cgroup
from tests.lab.conftest import Installation

BUILDKITD = ("pods", "--selector=app=buildkitd")
GATEWAY = ("pods", "--selector=app=buildkit-gateway")


def processes(installation: Installation, *pods: str) -> dict[int, str]:
    """What runs in the containers of some pods: what each process is called."""
    ids = "--output=jsonpath={..status.containerStatuses[*].containerID}"
    containers = installation.kubectl("get", *pods, ids).replace("containerd://", "").split()
    found: dict[int, str] = {}
    for pid in cgroup.processes():
        with suppress(OSError):  # it may have ended
            groups = Path(f"/proc/{pid}/cgroup").read_text()
            if any(container in groups for container in containers):
                found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
    return found


def named(installation: Installation, name: str, *pods: str) -> list[int]:
    """The processes of some pods that are called so."""
    return [pid for pid, comm in processes(installation, *pods).items() if comm == name]


def kilobytes(pid: int, field: str) -> int:
    """A *field* of proc_pid_status(5) that is a size of memory.

    Raises:
        OSError: the process has ended.
    """
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if not found:
        raise ProcessLookupError(pid)
    return int(found[1])


def buildkitd_is_killed(installation: Installation) -> None:
    """Kill each."""
    pids = named(installation, "buildkitd", *BUILDKITD)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
