"""Measure this program beside what else there is: docs/benchmarks.md, .json and .svg.

`python -m bench --quick` does one round of everything, with short waits, and shows the page only.
`python -m bench --only farm` measures one part anew and puts it among the recorded ones.
`python -m bench --page` makes the page and the picture anew from the figures in benchmarks.json.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import builds, farm, first, holds, installations, memory, plot, report, rollouts, tuning
from bench.workshop import Workshop, prepare
from lab import LabError, lifecycle, owner
from lab.measure import circumstances
from lab.paths import REPO

PAGE = REPO / "docs" / "benchmarks.md"
RAW = PAGE.with_suffix(".json")
PLOT = PAGE.with_suffix(".svg")

ROUNDS = {False: 5, True: 1}
ROLLOUTS = {False: 10, True: 1}
HOLD = {False: 600, True: 60}
FROM_NONE = {False: 20, True: 1}
"""By whether it is to be quick; the hold in seconds."""
ROLLED = ("http2", "upstream", "driver")
ALONE: dict[str, Callable[[Workshop, bool], Any]] = {
    "first": lambda of, quick: first.measure(of, ROUNDS[quick]),
    "tuning": lambda of, quick: tuning.measure(of, ROUNDS[quick]),
    "farm": lambda of, quick: farm.measure(of, FROM_NONE[quick]),
}
"""What has installations of its own, and can be measured alone."""


def measured(of: Workshop, quick: bool) -> dict[str, Any]:
    """All figures of one run."""
    started = time.monotonic()
    prepare(of)
    with builds.all_ways(of, HOLD[quick]) as ways:
        figures: dict[str, Any] = {
            "builds": builds.measure(of, ways, ROUNDS[quick]),
            "memory": memory.measure(of, ways["http2"]),
            "rollouts": rollouts.measure(
                of, {name: ways[name] for name in ROLLED}, ROLLOUTS[quick]
            ),
            "holds": holds.measure(of, ways, HOLD[quick]),
        }
    figures |= {part: measure(of, quick) for part, measure in ALONE.items()}
    minutes = (time.monotonic() - started) / 60
    return {
        **circumstances(),
        "buildkit": installations.VERSION,
        "minutes": minutes,
        "rounds": ROUNDS[quick],
        "hold": HOLD[quick],
        **figures,
    }


def with_one_anew(of: Workshop, part: str, quick: bool) -> dict[str, Any]:
    """The recorded figures with those of one part as they are now."""
    recorded = json.loads(RAW.read_text())
    prepare(of)
    figures = ALONE[part](of, quick)
    return {
        **recorded,
        part: figures,
        "alone": {**recorded.get("alone", {}), part: circumstances()},
    }


def write(raw: dict[str, Any]) -> None:
    """Write the page and the picture that say what the figures are."""
    PLOT.write_text(plot.svg(raw))
    PAGE.write_text(report.page(raw))


def main() -> None:
    """Measure, and write the three files; or the page alone, from the figures that there are."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=ALONE)
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    if given.page:
        write(json.loads(RAW.read_text()))
        return
    with owner.lock("make bench"), tempfile.TemporaryDirectory() as directory:
        lab = lifecycle.running() or lifecycle.start()
        of = Workshop(lab, Path(directory))
        raw = (
            with_one_anew(of, given.only, given.quick) if given.only else measured(of, given.quick)
        )
    if not given.quick:
        RAW.write_text(json.dumps(raw, indent=1) + "\n")
        write(raw)
    print(report.page(raw), file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit("\n".join(f"lab: {line}" for line in str(error).splitlines()))
