"""What the machine must be able to do, asked before anything is built or started.

Runs on any Python 3.11 without further packages, since it comes before they are installed.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lab import LabError, owner
from lab.paths import CACHE, REPO, STATE

COLD_GIGABYTES = 25
WARM_GIGABYTES = 5
RUNNING_GIGABYTES = 1  # the node evicts every pod when half of it is left


def machine(node: bool) -> None:
    """Refuse a machine that can't run the lab; with *node*, the Kubernetes node too.

    Raises:
        LabError: one line for each reason, all of them at once.
    """
    problems = [*_go(), *_disk(CACHE, _gigabytes())]
    if node:
        problems = [*_linux(), *_root(), *problems, *_disk(STATE, _gigabytes())]
    if problems:
        raise LabError("\n".join(dict.fromkeys(problems)))


def _linux() -> Iterator[str]:
    if platform.system() != "Linux":
        yield (
            f"this is {platform.system()}: the lab's node needs Linux; set KUBECONFIG to use "
            "a cluster that you have"
        )


def _root() -> Iterator[str]:
    if os.geteuid() != 0:
        yield (
            f"user {os.geteuid()} is not root, which a network namespace and a kubelet need: "
            "run it as root, or set KUBECONFIG to use a cluster that you have"
        )


def _go() -> Iterator[str]:
    minimum = _go_minimum()
    wanted = ".".join(map(str, minimum))
    go = shutil.which("go")
    if go is None:
        yield f"go is not on the PATH: install Go {wanted} or newer"
        return
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True).stdout.strip()
    version = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", answer)
    if version is None or _numbers(version) < minimum:
        yield f"{go} is {answer or 'no Go'}: install Go {wanted} or newer"


def _go_minimum() -> tuple[int, ...]:
    """The newest Go that one of the tools' modules asks for."""
    modules = (file.read_text() for file in REPO.glob("lab/tools/*/go.mod"))
    directives = (re.search(r"^go (\d+)\.(\d+)(?:\.(\d+))?$", text, re.M) for text in modules)
    return max(_numbers(directive) for directive in directives if directive)


def _numbers(version: re.Match[str]) -> tuple[int, ...]:
    return tuple(int(part or 0) for part in version.groups())


def full_disks() -> list[str]:
    """Where there is too little room left for anything to go well; a line for each disk."""
    problems = [*_disk(STATE, RUNNING_GIGABYTES), *_disk(CACHE, RUNNING_GIGABYTES)]
    return list(dict.fromkeys(problems))


def _gigabytes() -> float:
    """The tools take a lot to build and little to run; a node that is there has taken its share."""
    if not any(CACHE.glob("bin-*")):
        return COLD_GIGABYTES
    return RUNNING_GIGABYTES if owner.current() else WARM_GIGABYTES


def _disk(directory: Path, needed: float) -> Iterator[str]:
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free < needed:
        yield f"{existing} has {free:.3g} GB free, and the lab needs {needed} GB there: make room"


def main() -> None:
    """Check this machine for what `make` is about to do; with KUBECONFIG, without a node."""
    try:
        machine(node=not os.environ.get("KUBECONFIG"))
    except LabError as error:
        sys.exit("\n".join(f"lab: {line}" for line in str(error).splitlines()))


if __name__ == "__main__":
    main()
