"""Steps that say what runs, how long it has run and, from earlier runs, how long it still takes."""

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from lab.paths import CACHE

DURATIONS = CACHE / "durations.json"
LOG_INTERVAL = 30.0  # seconds between two lines of one step where there is no terminal
RECORD = "BUILDKIT_LAB_RECORD"  # names a file for the seconds of each step, by its title
SHORTEST_RECORDED = 1.0  # a step that found nothing to do tells nothing about the work


@dataclass
class Step:
    """One piece of work: its title is also the key of its recorded duration."""

    title: str
    expected: float | None
    depth: int
    detail: str = ""
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    ok: bool | None = None

    @property
    def seconds(self) -> float:
        """How long the step took, or has taken up to now."""
        return (self.ended or time.monotonic()) - self.started

    def update(self, detail: str) -> None:
        """Say how far the step has come; shown behind the title."""
        self.detail = detail

    def line(self) -> str:
        """The step as one line of text."""
        mark = {None: "…", True: "✓", False: "✗"}[self.ok]
        detail = f": {self.detail}" if self.detail and not self.ok else ""
        left = ""
        if self.ok is None and self.expected is not None:
            remaining = self.expected - self.seconds
            left = f", about {duration(remaining)} left" if remaining >= 1 else ", nearly done"
        return f"{'  ' * self.depth}{mark} {self.title}{detail} {duration(self.seconds)}{left}"


_steps: list[Step] = []
_active: list[Step] = []
_lock = threading.Lock()
_console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
_live: Live | None = None


def duration(seconds: float) -> str:
    """Seconds as people say them: `0.4 s`, `75 s`, `14 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 300 else f"{seconds / 60:.0f} min"


def expected(title: str) -> float | None:
    """How long the step of this title took when it last succeeded."""
    return _recorded().get(title)


def steps() -> list[Step]:
    """All steps of this process in the order of their start, nested ones by `depth`."""
    return list(_steps)


@contextmanager
def step(title: str, estimate: float | None = None, detail: str = "") -> Iterator[Step]:
    """Show a piece of work while it runs; `estimate` (seconds) counts until one was recorded."""
    work = _begin(title, estimate, detail)
    ended = threading.Event()
    if not _console.is_terminal:
        threading.Thread(target=_log, args=(work, ended), daemon=True).start()
    try:
        yield work
        work.ok = True
    finally:
        work.ok = bool(work.ok)
        ended.set()
        _end(work)


def _begin(title: str, estimate: float | None, detail: str) -> Step:
    """Open a step and, on a terminal, the live line for the first one."""
    global _live
    known = expected(title)
    with _lock:
        work = Step(title, estimate if known is None else known, len(_active), detail)
        _steps.append(work)
        _active.append(work)
        if _console.is_terminal and _live is None:
            # A stdout that is piped on (`make env`) must stay what the program wrote there.
            _live = Live(
                get_renderable=_render,
                console=_console,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            _live.start()
    if not _console.is_terminal:
        about = f", about {duration(work.expected)}" if work.expected is not None else ""
        _console.print(f"{'  ' * work.depth}… {title}{detail and f': {detail}'}{about}")
    return work


def _end(work: Step) -> None:
    """Close a step: its last line, its duration on record."""
    global _live
    work.ended = time.monotonic()
    if work.ok and work.seconds >= SHORTEST_RECORDED:
        _record(work.title, work.seconds)
    with _lock:
        _active.remove(work)
        live, _live = (_live, None) if not _active else (None, _live)
    if live:
        live.stop()
    _console.print(work.line())
    if record := os.environ.get(RECORD):
        ended = {done.title: round(done.seconds, 2) for done in _steps if done.ended}
        Path(record).write_text(json.dumps(ended))


def _render() -> Group:
    return Group(*(Text(s.line(), no_wrap=True, overflow="ellipsis") for s in list(_active)))


def _log(work: Step, ended: threading.Event) -> None:
    """Where there is no terminal: one line now and then, so that nobody thinks it hangs."""
    while not ended.wait(LOG_INTERVAL):
        _console.print(work.line())


def _recorded() -> dict[str, float]:
    with suppress(OSError, ValueError):
        known = json.loads(DURATIONS.read_text())
        if isinstance(known, dict):
            return {k: v for k, v in known.items() if isinstance(v, int | float)}
    return {}


def _record(title: str, seconds: float) -> None:
    """Keep a duration for the next run; a cache that can't be written costs only the forecast."""
    with suppress(OSError):
        DURATIONS.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=DURATIONS.parent, delete=False) as file:
            json.dump(_recorded() | {title: round(seconds, 1)}, file, indent=1, sort_keys=True)
        os.replace(file.name, DURATIONS)
