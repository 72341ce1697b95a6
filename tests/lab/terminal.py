"""A command at a terminal of its own, to be interrupted as people do it: by Ctrl-C."""

import errno
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

CTRL_C = b"\x03"
# Where the tests run in the background, Ctrl-C is ignored, and what they start would inherit that.
NEW_TERMINAL = ("setsid", "--ctty", "env", "--default-signal=INT")
WIDE = (50, 200)  # rows and columns: no line of a step is cut off


class Terminal:
    """Runs a command as the foreground of a new terminal, which takes it along when it closes."""

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        """Start it."""
        self._master, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, WIDE)
        self._process = subprocess.Popen(
            [*NEW_TERMINAL, *command],
            cwd=cwd,
            env={**env, "TERM": "xterm"},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        )
        os.close(terminal)
        self.said = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self.kill()

    def wait_for(self, pattern: str, timeout: float = 120) -> None:
        """Read until the pattern has been said."""
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.said):
            ended = not self._read(deadline - time.monotonic())
            assert not ended, f"no {pattern!r} before the end or within {timeout} s:\n{self.last}"

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.write(self._master, CTRL_C)

    def stop(self) -> None:
        """Stop all that runs at the terminal, as Ctrl-Z does, until it goes on."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End at once all that runs at the terminal."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self.end()

    def end(self, timeout: float = 120) -> int:
        """Read what is left, and return the exit code."""
        deadline = time.monotonic() + timeout
        while self._read(deadline - time.monotonic()):
            pass
        os.close(self._master)
        return self._process.wait(timeout=10)

    @property
    def last(self) -> str:
        """The end of what was said, without the terminal's control codes."""
        return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|\r", "", self.said)[-3000:]

    def _read(self, timeout: float) -> bool:
        """Read once; whether there was anything before the end and within the time."""
        if not select.select([self._master], [], [], max(timeout, 0))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # the last process has closed the terminal
                raise
            return False
        self.said += data.decode(errors="replace")
        return bool(data)
