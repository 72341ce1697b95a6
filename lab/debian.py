"""The Debian packages that the lab needs on the machine."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from lab import LabError, progress
from lab.paths import CACHE

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


def unpacked(package: str) -> Path:
    """Where the files of *package* are, without it being installed: no daemon of it starts.

    Raises:
        LabError: see `install`.
    """
    directory = CACHE / "debian" / package
    if directory.exists():
        return directory
    install({"dpkg"})
    directory.parent.mkdir(parents=True, exist_ok=True)
    with progress.step(f"Debian package: {package}"), TemporaryDirectory(dir=CACHE) as made:
        _run(*_APT, "update")
        _run(*_APT, "download", package, directory=made)
        [archive] = Path(made).glob("*.deb")
        files = Path(made) / package
        _run("dpkg", "--extract", str(archive), str(files))
        with suppress(OSError):  # another process was first
            files.rename(directory)
    return directory


def _is_installed(package: str) -> bool:
    query = ("dpkg-query", "--show", "--showformat=${db:Status-Status}", package)
    if shutil.which(query[0]) is None:
        return False
    return subprocess.run(query, capture_output=True, text=True).stdout == "installed"


def _run(*command: str, directory: str | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(
        command,
        cwd=directory,
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
