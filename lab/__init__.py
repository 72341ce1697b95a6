"""A one-node Kubernetes on this machine, and all that the program needs to run on it."""

import signal
import sys
import threading
from types import TracebackType


class LabError(Exception):
    """What a user can mend: one line that says what is wrong and what to do."""


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say in one line that it was interrupted; it may have been in the middle of an import."""
    if issubclass(kind, KeyboardInterrupt):
        print("lab: interrupted; the next make up or make down goes on from here", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


_SOON = 0.1  # seconds; longer than any finalizer takes
_unraisable = sys.unraisablehook


def _ignored(what: "sys.UnraisableHookArgs") -> None:
    """Press Ctrl-C again where it came in a finalizer: Python drops what is raised there."""
    if not issubclass(what.exc_type, KeyboardInterrupt):
        return _unraisable(what)
    main = threading.main_thread().ident or 0
    threading.Timer(_SOON, signal.pthread_kill, (main, signal.SIGINT)).start()


sys.excepthook = _end
sys.unraisablehook = _ignored
