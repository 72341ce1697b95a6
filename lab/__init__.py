"""A one-node Kubernetes on this machine, and all that the program needs to run on it."""

import sys
from types import TracebackType


class LabError(Exception):
    """What a user can mend: one line that says what is wrong and what to do."""


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say in one line that it was interrupted; it may have been in the middle of an import."""
    if issubclass(kind, KeyboardInterrupt):
        print("lab: interrupted; the next make up or make down goes on from here", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _end
