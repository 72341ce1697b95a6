"""The one setting of the machine that the node changes while it is there.

Envoy watches its files by inotify, nine instances a process, and all gateways are one user's: with
the kernel's 128 the fifteenth one on a node ends at once, without a word.
"""

from pathlib import Path

from lab import files

INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH = 8192  # as kops and minikube have it


def lift(state: Path) -> None:
    """Have room for many gateways; the value of before is kept in *state*."""
    before = INSTANCES.read_text()
    if int(before) < ENOUGH:
        files.write(_kept(state), before)
        INSTANCES.write_text(str(ENOUGH))


def restore(state: Path) -> None:
    """Put back what there was before."""
    if _kept(state).exists():
        INSTANCES.write_text(_kept(state).read_text())


def _kept(state: Path) -> Path:
    return state / INSTANCES.name
