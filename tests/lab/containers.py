"""The processes in the containers of pods, to be killed or stopped from outside."""

from contextlib import suppress
from pathlib import Path

from lab import cgroup
from tests.lab.conftest import Installation


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
