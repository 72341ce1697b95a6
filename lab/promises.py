"""Show in full what is promised, on the lab, and record it: docs/promises.md, and the raw results.

`python -m lab.promises` takes hours. With files of tests it shows what these hold; what is known of
the others stays, with the commit that it was shown on.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from lab import measure
from lab.paths import REPO

RAW = REPO / "docs" / "promises.json"
PAGE = REPO / "docs" / "promises.md"
FILES = [
    f"tests/lab/test_{name}.py"
    for name in (
        "hold",
        "rollouts",
        "gateway_rollouts",
        "daemon_faults",
        "idle_links",
        "many_clients",
        "access",
        "renewal",
    )
]
IN_MAKE_TEST = " in make test"
_FAILED = {"failure", "error"}


def run(files: list[str]) -> dict[str, dict[str, Any]]:
    """What became of each test, by its name; pytest says which one is on."""
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        options = ("--full", "--verbose", f"--junit-xml={report.name}")
        command = [sys.executable, "-m", "pytest", *options, *files]
        ended = subprocess.run(command, cwd=REPO, check=False).returncode
        if ended not in (0, 1):  # all is well; some tests failed
            sys.exit(f"lab: pytest ended with {ended}; nothing is recorded")
        return results(Path(report.name).read_text())


def results(report: str) -> dict[str, dict[str, Any]]:
    """What a JUnit report of pytest's says of the tests that ran."""
    cases = list(ElementTree.fromstring(report).iter("testcase"))
    ended = {id(case): {part.tag for part in case} for case in cases}
    return {
        f"{case.attrib['classname']}.{case.attrib['name']}": {
            "passed": not ended[id(case)] & _FAILED,
            "seconds": round(float(case.attrib["time"])),
            "figures": {
                each.attrib["name"]: each.attrib["value"] for each in case.iter("property")
            },
        }
        for case in cases
        if "skipped" not in ended[id(case)]
    }


def page(raw: dict[str, dict[str, Any]]) -> str:
    """The results as a page."""
    machines = sorted({result["machine"] for result in raw.values()})
    return "\n".join(
        [
            "# Promises",
            "",
            "What the tests show: in full by `make promises`, in minutes by `make test`, and by an",
            "hour of chance, `make soak`. The raw results are in [promises.json](promises.json).",
            "",
            f"The full counts were shown on: {'; '.join(machines)}.",
            "",
            "| | in full | in `make test` | result | commit |",
            "|---|---|---|---|---|",
            *(_row(name, result) for name, result in sorted(raw.items())),
            "",
        ]
    )


def _row(name: str, result: dict[str, Any]) -> str:
    figures = result["figures"]
    in_full = {key: value for key, value in figures.items() if not key.endswith(IN_MAKE_TEST)}
    in_make_test = {
        key.removesuffix(IN_MAKE_TEST): value
        for key, value in figures.items()
        if key.endswith(IN_MAKE_TEST)
    }
    shown = "shown" if result["passed"] else "**failed**"
    return (
        f"| {_sentence(name)} | {_list(in_full)} | {_list(in_make_test)} "
        f"| {shown} in {result['seconds']} s | {result['commit']}, {result['date']} |"
    )


def _sentence(name: str) -> str:
    """The name of a test as what it says."""
    test, _, variant = name.rpartition(".test_")[2].partition("[")
    said = test.replace("_s_", "'s ").replace("_", " ")
    return said + (f" ({variant.removesuffix(']')})" if variant else "")


def _list(figures: dict[str, str]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in figures.items())


def main() -> None:
    """Show it, and write both files."""
    circumstances = measure.circumstances()
    found = {name: result | circumstances for name, result in run(sys.argv[1:] or FILES).items()}
    known = json.loads(RAW.read_text()) if RAW.exists() else {}
    raw = {**known, **found}
    RAW.write_text(json.dumps(raw, indent=1) + "\n")
    PAGE.write_text(page(raw))
    print(f"{PAGE.relative_to(REPO)} and {RAW.relative_to(REPO)} are written")
    if failed := [name for name, result in found.items() if not result["passed"]]:
        sys.exit("\n".join(f"lab: failed: {name}" for name in failed))


if __name__ == "__main__":
    main()
