"""The Debian packages that the lab needs on the machine."""

import os
import shutil
import subprocess
from collections.abc import Iterable

from lab import LabError, progress

_APT = ("apt-get", "--quiet", "--yes", "--no-install-recommends")


def install(packages: Iterable[str]) -> None:
    """Install those of *packages* that are missing.

    Raises:
        LabError: this is no Debian, or its package registry can't be reached.
    """
    missing = [package for package in sorted(set(packages)) if not _is_installed(package)]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise LabError(f"there is no apt-get here: install what Debian calls {', '.join(missing)}")
    with progress.step(f"Debian packages: {', '.join(missing)}"):
        _run(*_APT, "update")
        _run(*_APT, "install", *missing)


def _is_installed(package: str) -> bool:
    query = ("dpkg-query", "--show", "--showformat=${db:Status-Status}", package)
    if shutil.which(query[0]) is None:
        return False
    return subprocess.run(query, capture_output=True, text=True).stdout == "installed"


def _run(*command: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        verb = next(word for word in command[1:] if word not in _APT)
        raise LabError(
            f"{command[0]} {verb} failed: {lines[-1] if lines else '?'}; "
            "check that Debian's package registry can be reached"
        )
