"""The lab's own servers for the plugins tls and random: the official ones are in no registry.

Each is a process that serves the provider protocol; the engine starts it as it starts any plugin.
"""

import shlex
from pathlib import Path

from lab import files
from lab.paths import REPO

PACKAGES = ("random", "tls")
COMPONENT = "pulumi-resource-buildkit"


def install(directory: Path, package: str, python: str) -> None:
    """Put the executable of a *package* into the *directory* of its plugin."""
    command = f"PYTHONPATH={shlex.quote(str(REPO))} exec {shlex.quote(python)} -P -m lab.providers"
    script = f'#!/bin/sh\n{command}.{package} "$@"\n'
    files.write(directory / f"pulumi-resource-{package}", script, mode=0o755)


def install_component(components: Path, python: str) -> None:
    """Have the component provider start by itself, where a project names its directory.

    The CLI tells a language host the directory in a field that the lab's host does not know.
    """
    script = f'#!/bin/sh\nexec {shlex.quote(python)} "$(dirname "$0")" "$@"\n'
    files.write(components / COMPONENT, script, mode=0o755)
