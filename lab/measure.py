"""Record how long the lab's commands take: docs/measurements.md, with the raw figures beside it.

`python -m lab.measure` takes about ten minutes. With `--cold` it measures instead what a machine
with nothing cached takes: it builds everything anew in a directory of its own, for half an hour.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab import lifecycle, owner, progress
from lab.paths import REPO

ROUNDS = 5
RAW = REPO / "docs" / "measurements.json"
PAGE = REPO / "docs" / "measurements.md"
UP = f"pulumi up of the stack {lifecycle.STACK}"
TARGETS = {  # seconds
    "make up, cold": 35 * 60,
    "make up, warm": 60,
    UP: 20,
    "preview without changes": 4,
    "make down": 30,
}


def make(
    target: str, directory: Path = REPO, environment: dict[str, str] | None = None
) -> tuple[float, dict[str, float]]:
    """Run a target: how long it took, and how long each of its steps took."""
    with tempfile.NamedTemporaryFile() as record:
        variables = {**os.environ, progress.RECORD: record.name, **(environment or {})}
        started = time.monotonic()
        subprocess.run(["make", target], cwd=directory, env=variables, check=True)
        seconds = time.monotonic() - started
        return seconds, json.loads(Path(record.name).read_text() or "{}")


def warm() -> dict[str, Any]:
    """From nothing running to an image in the registry and back, `ROUNDS` times."""
    figures: dict[str, list[float]] = {name: [] for name in list(TARGETS)[1:]}
    make("down")
    for _ in range(ROUNDS):
        seconds, steps = make("up")
        figures["make up, warm"].append(seconds)
        figures[UP].append(steps[UP])
        figures["preview without changes"].append(_timed(_preview))
        figures["make down"].append(make("down")[0])
    return figures


def cold() -> dict[str, Any]:
    """One `make up` in a fresh clone with nothing cached, and how long each of its steps took."""
    with tempfile.TemporaryDirectory(dir=REPO.parent, prefix="cold-") as directory:
        clone = Path(directory, "checkout")
        subprocess.run(["git", "clone", "--quiet", str(REPO), str(clone)], check=True)
        caches = {
            "XDG_CACHE_HOME": f"{directory}/cache",
            "GOPATH": f"{directory}/go",
            "GOMODCACHE": f"{directory}/go/mod",
            "GOCACHE": f"{directory}/go/build",
            "GOFLAGS": "-modcacherw",
        }
        seconds, steps = make("up", clone, caches)
        make("down", clone, caches)
    return {"make up, cold": [seconds], "steps": steps}


def _preview() -> None:
    lab = lifecycle.running()
    assert lab, "make up left no lab"
    lab.own_stack().cli("preview", "--expect-no-changes")


def _timed(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def circumstances() -> dict[str, str]:
    """What a record says of itself: commit, date and machine."""
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, cwd=REPO, capture_output=True, text=True, check=True).stdout
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "commit": commit.strip(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}",
    }


def page(raw: dict[str, Any]) -> str:
    """The figures as a page."""
    rows = [
        f"| {name} | {len(seconds)} | {statistics.median(seconds):.1f} "
        f"| {min(seconds):.1f} to {max(seconds):.1f} | {TARGETS[name]} |"
        for name, seconds in raw["seconds"].items()
    ]
    steps = [f"| {title} | {seconds:.1f} |" for title, seconds in raw.get("steps", {}).items()]
    return "\n".join(
        [
            "# Measurements",
            "",
            "Recorded by `make measure`, and `make measure COLD=1` for the cold run; the raw",
            "figures are in [measurements.json](measurements.json).",
            "",
            f"Commit {raw['commit']}, {raw['date']}, {raw['machine']}.",
            "",
            "| | runs | median, s | range, s | target, s |",
            "|---|---|---|---|---|",
            *rows,
            *(
                [
                    "",
                    "Where the time of the cold run goes:",
                    "",
                    "| step | s |",
                    "|---|---|",
                    *steps,
                ]
                if steps
                else []
            ),
            "",
        ]
    )


def main() -> None:
    """Measure, and write both files."""
    parser = argparse.ArgumentParser(prog="python -m lab.measure")
    parser.add_argument("--cold", action="store_true")
    given = parser.parse_args()
    known = json.loads(RAW.read_text()) if RAW.exists() else {"seconds": {}}
    with owner.lock("make measure"):
        figures = cold() if given.cold else warm()
    steps = figures.pop("steps", known.get("steps", {}))
    figures = {**known["seconds"], **figures}
    raw = {
        **circumstances(),
        "seconds": {name: figures[name] for name in TARGETS if name in figures},
        "steps": steps,
    }
    RAW.write_text(json.dumps(raw, indent=1) + "\n")
    PAGE.write_text(page(raw))
    print(PAGE.read_text(), file=sys.stderr)


if __name__ == "__main__":
    main()
