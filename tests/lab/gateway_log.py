"""What the gateway has written: a line of JSON for each build, session and refusal."""

import json
from typing import Any

from lab import LabError
from lab.node import until
from tests.lab.conftest import Installation

_FLUSHED = 20.0  # seconds


def lines(installation: Installation) -> list[dict[str, Any]]:
    """Those of all pods that are there."""
    selected = ("--selector=app=buildkit-gateway", "--tail=-1")
    text = installation.kubectl("logs", *selected)
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def of_builds(installation: Installation) -> list[dict[str, Any]]:
    """Those of RPCs."""
    return [line for line in lines(installation) if "rpc" in line]


def new_of_builds(installation: Installation, before: int, count: int) -> list[dict[str, Any]]:
    """The *count* lines of RPCs that came after the first ones, of which there were *before*."""
    until(
        lambda: len(of_builds(installation)) >= before + count,
        _FLUSHED,
        lambda: LabError(f"the log says no more: {of_builds(installation)[before:]}"),
    )
    return of_builds(installation)[before:]
