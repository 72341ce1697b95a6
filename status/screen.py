"""What a person sees."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from status.cluster import Cache, Pod
from status.log import Build, Failure

FEW_DAYS = 14
"""Days before a certificate's end from which it is shown as something to do."""
_FAILURES = 5
_CERTIFICATES = 8
_FULL = 90  # percent of a disk
_WIDE = 200


def screen(
    title: str,
    pods: Sequence[Pod],
    builds: Sequence[Build],
    counted: str,
    caches: Sequence[Cache],
    ends: Mapping[str, datetime],
    failures: Sequence[Failure],
    now: datetime,
) -> Group:
    """All of it, in sections."""
    return Group(
        Text(title, style="bold"),
        _section("pods", _rows(_pod(pod, now) for pod in pods), "none: nothing runs now"),
        _section(counted, _rows(_build(build, now) for build in builds)),
        _section("cache", _rows(map(_cache, caches)), "no buildkitd says what it keeps"),
        _section(
            "certificates",
            _rows(_certificate(*end, now) for end in _first(ends)),
            "none that this stack made",
        ),
        _section("last failures", _rows(_failure(f, now) for f in failures[:_FAILURES]), "none"),
    )


def show(shown: RenderableType) -> None:
    """Print it, with colours where there is a terminal."""
    console = Console(highlight=False)
    # Where nobody looks nothing is cut off.
    wide = console if console.is_terminal else Console(highlight=False, width=_WIDE)
    wide.print(shown)


def since(moment: datetime, now: datetime) -> str:
    """How long ago, as people say it."""
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _section(title: str, rows: Table, nothing: str = "") -> RenderableType:
    body: RenderableType = rows if rows.row_count else Text(f"  {nothing}" if nothing else "")
    return Group(Text(f"\n{title}", style="bold"), *([body] if nothing or rows.row_count else []))


def _rows(rows: Iterable[Sequence[str | Text]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row("", *row)
    return table


def _pod(pod: Pod, now: datetime) -> list[str | Text]:
    style = "" if pod.state == "ready" else "yellow"
    again = f"restarts: {pod.restarts} ({pod.last_end})" if pod.restarts else ""
    image = pod.image.removeprefix("docker.io/")
    return [pod.name, Text(pod.state, style), since(pod.began, now), image, Text(again, "red")]


def _build(build: Build, now: datetime) -> list[str | Text]:
    return [build.client, f"since {build.began:%H:%M:%S}Z", since(build.began, now), build.address]


def _cache(cache: Cache) -> list[str | Text]:
    share = 100 * cache.used // max(cache.disk, 1)
    style = "red" if share >= _FULL else ""
    size = f"{cache.disk / 1024 / 1024:.1f} GiB"
    return [cache.pod, cache.cached, Text(f"its disk of {size} is {share} % full", style)]


def _first(ends: Mapping[str, datetime]) -> list[tuple[str, datetime]]:
    return sorted(ends.items(), key=lambda end: end[1])[:_CERTIFICATES]


def _certificate(name: str, end: datetime, now: datetime) -> list[str | Text]:
    days = (end - now) // timedelta(days=1)
    left = f"{days} days left" if end > now else "has ended"
    return [name, f"{end.astimezone(UTC):%Y-%m-%d}", Text(left, "red" if days < FEW_DAYS else "")]


def _failure(failure: Failure, now: datetime) -> list[str | Text]:
    return [failure.client, f"{since(failure.time, now)} ago", Text(failure.why)]
