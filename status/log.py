"""What the gateway's log says of builds: docs/access.md has its keys."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

_SOLVE = "/moby.buildkit.v1.Control/Solve"


class Build(NamedTuple):
    """One that runs or waits."""

    client: str
    address: str
    began: datetime


class Failure(NamedTuple):
    """A build that did not end well, or a client that waited for a buildkitd in vain."""

    client: str
    time: datetime
    why: str


def lines(log: str) -> list[dict[str, Any]]:
    """Those of JSON."""
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def running(said: Iterable[dict[str, Any]]) -> list[Build]:
    """The builds that have begun and not ended, the oldest first."""
    said = [*said]
    ended = {line.get("stream") for line in said}
    begun = (line for line in said if "begins" in line and line["begins"] not in ended)
    builds = (Build(_client(line), line["address"], _time(line)) for line in begun)
    return sorted(builds, key=lambda build: build.began)


def failures(said: Iterable[dict[str, Any]]) -> list[Failure]:
    """What went wrong, the latest first."""
    failed = (Failure(_client(line), _time(line), why) for line, why in _failed(said))
    return sorted(failed, key=lambda failure: failure.time, reverse=True)


def _failed(said: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    for line in said:
        outcome, reason = line.get("outcome"), line.get("reason") or ""
        of_a_build = line.get("rpc") == _SOLVE or outcome == "Unavailable"
        if "stream" in line and of_a_build and outcome != "OK":
            yield line, f"{outcome}: {reason}" if outcome else "the client went away"


def _client(line: dict[str, Any]) -> str:
    """As the configuration calls it, where its certificate was made for it."""
    return (line["client"] or "?").removeprefix("spiffe://buildkit/client/")


def _time(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["time"])
