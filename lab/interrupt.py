"""Ctrl-C while another program of the same terminal does the work: it ends first, then we do."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deferred() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end of the block, for a Ctrl-C that came within it.

    The terminal sends it to the other program as well, which may have to put things in order.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is ever interrupted
        return
    came = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: came.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came.is_set():
            raise KeyboardInterrupt
