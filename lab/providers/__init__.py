"""The lab's own stand-ins for Pulumi's resource plugins, for where the official ones can't be had.

Each is a process that serves the provider protocol; the engine finds it on the PATH by its name.
"""

import shlex
from pathlib import Path

from lab import files
from lab.paths import REPO

PACKAGES = ("kubernetes", "random", "tls")


def install(bin_dir: Path, python: str) -> None:
    """Put a `pulumi-resource-NAME` for each package into a directory for the engine's PATH."""
    bin_dir.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        command = f"PYTHONPATH={shlex.quote(str(REPO))} exec {shlex.quote(python)} -m lab.providers"
        _executable(bin_dir, package, f"{command}.{package}")


def install_component(directory: Path, package: str, python: str) -> None:
    """Make the component provider in a *directory* start as the language host would start it.

    The engine asks no language host where a project's package has an executable of its own.
    """
    _executable(directory, package, f"exec {shlex.quote(python)} {shlex.quote(str(directory))}")


def _executable(directory: Path, package: str, command: str) -> None:
    script = f'#!/bin/sh\n{command} "$@"\n'
    files.write(directory / f"pulumi-resource-{package}", script, mode=0o755)
