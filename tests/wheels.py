"""The wheel of the library."""

import subprocess
import sys
from pathlib import Path

from lab.paths import REPO

LIBRARY = f"git+file://{REPO}#subdirectory=components"
"""The Git subdirectory, as another project's requirements.txt names it."""


def wheel_of(requirement: str, directory: Path) -> Path:
    """The wheel that pip builds for a requirement."""
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    command = (sys.executable, *build, f"--wheel-dir={directory}", requirement)
    subprocess.run(command, check=True, cwd=directory)
    (wheel,) = directory.glob("*.whl")
    return wheel
