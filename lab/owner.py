"""Whose lab it is: one node a machine, used by one command at a time, kept by one checkout."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import LabError, files
from lab.paths import REPO, STATE

LOCK = Path("/run/buildkit-lab.lock")
# Commands that the holder starts (a test that runs `make`) act on its behalf.
_HELD = "BUILDKIT_LAB_LOCK_HELD"
_OWNER = STATE / "owner"
CLOCK_TOLERANCE = 60.0  # seconds; what Kubernetes allows a token to be from the future


@contextmanager
def lock(purpose: str) -> Iterator[None]:
    """Use the lab alone while this lasts.

    Raises:
        LabError: another command uses it.
    """
    if os.environ.get(_HELD):
        yield
        return
    with LOCK.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LabError(
                f"the lab is in use: {file.read() or 'by another command'}; wait until it ends, "
                "or end it"
            ) from None
        file.truncate(0)
        file.write(f"{purpose} in {REPO}, process {os.getpid()}")
        file.flush()
        os.environ[_HELD] = "1"
        try:
            yield
        finally:
            del os.environ[_HELD]
            LOCK.unlink()


def current() -> Path | None:
    """The checkout that the lab belongs to; None when there is none."""
    return Path(_OWNER.read_text()) if _OWNER.exists() else None


def claimed_in_the_future() -> bool:
    """Whether the lab began later than it is now: the clock went back by more than a minute."""
    return _OWNER.exists() and _OWNER.stat().st_mtime > time.time() + CLOCK_TOLERANCE


def claim() -> None:
    """Make the lab this checkout's, if it isn't yet: the file's time is the lab's beginning."""
    STATE.mkdir(parents=True, exist_ok=True)
    if current() != REPO:
        files.write(_OWNER, str(REPO))


def is_foreign() -> bool:
    """Whether the lab belongs to another checkout."""
    return current() not in (None, REPO)


def refuse_foreign() -> None:
    """Leave a lab alone that belongs to another checkout, while there is one.

    Raises:
        LabError: it does.
    """
    checkout = current()
    if is_foreign() and checkout and checkout.exists():
        raise LabError(f"the lab belongs to {checkout}: run make down there, or make up to take it")


def announce_takeover() -> None:
    """Say that another checkout loses its lab."""
    print(
        f"lab: taking the lab over from {current()}: its cluster is stopped, its cache is kept",
        file=sys.stderr,
    )
