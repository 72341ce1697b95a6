"""The project's Python environment, `.venv`, made anew when its lock file changes.

Runs on any Python 3.11 without further packages. pip refuses a file whose hash is not in the lock.
"""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
VENV = REPO / ".venv"
STAMP = VENV / "installed"
LOCK = "requirements-dev.lock"
REQUIREMENTS = (LOCK, "components/pyproject.toml")
_ADVICE = (
    "pip install failed: check that the Python package registry can be reached, "
    f"and gives what {LOCK} pins"
)


def main() -> None:
    """Have `.venv` hold what the lock file says."""
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit(f"lab: {sys.executable} is Python {sys.version.split()[0]}: install 3.11 or newer")
    wanted = _fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    started = time.monotonic()
    print("… Python environment", file=sys.stderr)
    _run(
        [sys.executable, "-m", "venv", str(VENV)],
        "python3 -m venv failed: install Debian's python3-venv",
    )
    pip = [str(VENV / "bin/pip"), "install", "--quiet"]
    _run([*pip, "--require-hashes", "--requirement", LOCK], _ADVICE)
    # A directory has no hash, and what builds it is in the lock.
    _run([*pip, "--no-deps", "--no-build-isolation", "--editable", "components"], _ADVICE)
    STAMP.write_text(wanted)
    print(f"✓ Python environment {time.monotonic() - started:.0f} s", file=sys.stderr)


def _fingerprint() -> str:
    texts = [sys.version, *((REPO / name).read_text() for name in REQUIREMENTS)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _run(command: list[str], advice: str) -> None:
    if subprocess.run(command, cwd=REPO, stdout=sys.stderr).returncode:
        sys.exit(f"lab: {advice}")


if __name__ == "__main__":
    main()
