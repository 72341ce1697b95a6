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
        wrapper = bin_dir / f"pulumi-resource-{package}"
        command = f'exec {shlex.quote(python)} -m lab.providers.{package} "$@"'
        script = f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(REPO))} {command}\n"
        files.write(wrapper, script, mode=0o755)
