"""The node's cgroup: every process of the node, its containers included, lives below it.

It is the record of what runs: a process is the node's if and only if it is in here, so nothing
else can be taken for one of the node's, as a process id in a file could.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lab import LabError
from lab.network import NAME

ROOT = Path("/sys/fs/cgroup")
KILL_TIMEOUT = 15.0  # seconds; a process in the middle of a large write takes some


def is_v2() -> bool:
    """Whether the machine has one unified hierarchy, rather than one for each controller."""
    return (ROOT / "cgroup.controllers").exists()


def tops() -> list[Path]:
    """The node's cgroup in each hierarchy."""
    if is_v2():
        return [ROOT / NAME]
    mounted = (path for path in sorted(ROOT.iterdir()) if not path.is_symlink())
    return [path / NAME for path in mounted if (path / "cgroup.procs").exists()]


def create(name: str) -> list[Path]:
    """Make a cgroup of the node; return the files into which a process of it writes itself."""
    for top in tops():
        for group in (top, top / name):
            group.mkdir(exist_ok=True)
            _inherit_cpuset(group)
        if is_v2():
            _pass_controllers_on(ROOT)
            _pass_controllers_on(top)
    return [top / name / "cgroup.procs" for top in tops()]


# Enters a cgroup by its file in each hierarchy, up to `--`, then becomes the command that follows.
_ENTER = 'while [ "$1" != -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@"'


def inside(name: str, *command: str) -> list[str]:
    """A command line that runs a *command* in a cgroup of the node, which is made."""
    return ["sh", "-c", _ENTER, "sh", *map(str, create(name)), "--", *command]


def _inherit_cpuset(group: Path) -> None:
    """Give a version 1 cpuset its parent's values: an empty one takes no process."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        own = group / file
        if not is_v2() and own.exists() and not own.read_text().strip():
            own.write_text((group.parent / file).read_text())


def _pass_controllers_on(group: Path) -> None:
    for controller in (group / "cgroup.controllers").read_text().split():
        with suppress(OSError):  # some can't be delegated, as rdma on some kernels
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def processes(name: str = "") -> set[int]:
    """The processes of one cgroup of the node, or of the whole node."""
    return {pid for group in _groups(name) for pid in _members(group)}


def leader(name: str) -> int | None:
    """The process that was started under this name, without those that it has started itself."""
    for pid in processes(name):
        with suppress(OSError):
            comm = Path(f"/proc/{pid}/comm").read_text().strip()
            if comm == name[:15] and os.getsid(pid) == pid:
                return pid
    return None


def kill() -> None:
    """Kill all that is in the node's cgroup, until nothing is left there."""
    deadline = time.monotonic() + KILL_TIMEOUT
    killed: set[int] = set()
    # One that is dead but not yet reaped is in no cgroup any more, but still in the process table.
    while (left := processes()) or any(Path(f"/proc/{pid}").exists() for pid in killed):
        if time.monotonic() > deadline:
            raise LabError(f"processes of the node do not end: {sorted(left or killed)}")
        killed |= left
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def remove() -> None:
    """Remove the node's cgroup from every hierarchy; it has no process any more."""
    for group in _groups():
        _remove(group)


def _remove(group: Path) -> None:
    deadline = time.monotonic() + KILL_TIMEOUT
    while group.exists():
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:  # busy for as long as a killed process isn't reaped
            if time.monotonic() > deadline:
                raise LabError(f"the cgroup {group} can't be removed: {error}") from error
            time.sleep(0.02)


def _groups(name: str = "") -> Iterator[Path]:
    """All cgroups of the node, children first."""
    for top in tops():
        for path, _, _ in os.walk(top / name, topdown=False):
            yield Path(path)


def _members(group: Path) -> list[int]:
    with suppress(OSError):  # it may be gone by now
        pids = (int(line) for line in (group / "cgroup.procs").read_text().split())
        return [pid for pid in pids if pid > 0]  # 0 stands for one of another pid namespace
    return []
