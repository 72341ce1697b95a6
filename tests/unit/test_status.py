"""What `make status` says, from what the gateway and the cluster say."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pulumi_buildkit import _envoy
from rich.console import Console

from status import log, metrics, screen
from status.cluster import Cache, Pod

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SOLVE = "/moby.buildkit.v1.Control/Solve"


def minutes_ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def begins(stream: str, client: str = "ci", minutes: float = 4) -> dict[str, Any]:
    return {
        "time": f"{minutes_ago(minutes):%Y-%m-%dT%H:%M:%S.000Z}",
        "client": f"spiffe://buildkit/client/{client}",
        "address": "10.0.0.7",
        "begins": stream,
    }


def ends(
    stream: str, outcome: str | None = "OK", reason: str = "via_upstream", rpc: str = SOLVE
) -> dict[str, Any]:
    line = {**begins(stream), "stream": stream, "outcome": outcome, "reason": reason, "rpc": rpc}
    del line["begins"]
    return line


def test_who_has_begun_and_not_ended_builds_now() -> None:
    said = [begins("a", "ci", 9), ends("a"), begins("b", "dev", 1), begins("c", "ci", 4)]
    assert log.running(said) == [
        log.Build("ci", "10.0.0.7", minutes_ago(4)),
        log.Build("dev", "10.0.0.7", minutes_ago(1)),
    ]


def test_a_failure_is_a_build_that_did_not_end_well_and_who_waited_in_vain() -> None:
    asked = "/moby.buildkit.v1.Control/ListWorkers"
    said = [
        ends("a"),
        ends("b", "Unknown"),
        ends("c", None),
        ends("d", "Unavailable", "upstream_reset", rpc=asked),
        ends("e", "PermissionDenied", "rbac_access_denied", rpc="/moby.buildkit.v1.Control/Prune"),
        {"client": None, "outcome": "refused", "reason": "x", "time": "2026-03-01T11:00:00Z"},
    ]
    whys = [failure.why for failure in log.failures(said)]
    assert whys == [
        "Unknown: via_upstream",
        "the client went away",
        "Unavailable: upstream_reset",
    ]


def test_what_is_no_line_of_json_says_nothing() -> None:
    assert log.lines(f"[info] starting\n{json.dumps(begins('a'))}\n") == [begins("a")]


def test_a_gateway_s_numbers_are_read_of_its_metrics() -> None:
    text = (
        f"# TYPE x gauge\n{_envoy.RUNNING_METRIC}{{}} 2\n{_envoy.WAITING_METRIC} 3\n"
        "envoy_listener_ssl_certificate_expiration_unix_time_seconds"
        '{envoy_tls_certificate="clients",envoy_listener_address="clients"} 1772366400\n'
    )
    assert (metrics.running(text), metrics.waiting(text)) == (2, 3)
    assert metrics.ends(text) == {"ca": NOW}


def shown(**given: Any) -> str:
    parts: dict[str, Any] = {
        "title": "team",
        "pods": [],
        "builds": [],
        "counted": "builds: 0",
        "caches": [],
        "ends": {},
        "failures": [],
        "now": NOW,
        **given,
    }
    console = Console(width=120, highlight=False)
    with console.capture() as capture:
        console.print(screen.screen(**parts))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def test_the_screen_of_an_installation_that_has_nothing_says_so() -> None:
    assert shown().splitlines() == [
        "team",
        "",
        "pods",
        "  none: nothing runs now",
        "",
        "builds: 0",
        "",
        "cache",
        "  no buildkitd says what it keeps",
        "",
        "certificates",
        "  none that this stack made",
        "",
        "last failures",
        "  none",
    ]


def test_the_screen_has_a_line_for_each_thing_that_there_is() -> None:
    image = "docker.io/moby/buildkit:v1"
    text = shown(
        pods=[Pod("buildkitd-0", "buildkitd", "ready", image, minutes_ago(3000), 2, "OOMKilled")],
        builds=[log.Build("ci", "10.0.0.7", minutes_ago(4))],
        caches=[Cache("buildkitd-0", "1.5GB", 4 << 20, 3 << 20)],
        ends={"ci": NOW + timedelta(days=9, hours=1), "old": minutes_ago(1)},
        failures=[log.Failure("dev", minutes_ago(90), "Unknown: via_upstream")],
    )
    for line in (
        "buildkitd-0  ready  2 d  moby/buildkit:v1  restarts: 2 (OOMKilled)",
        "ci  since 11:56:00Z  4 min  10.0.0.7",
        "buildkitd-0  1.5GB  its disk of 4.0 GiB is 75 % full",
        "ci   2026-03-10  9 days left",
        "old  2026-03-01  has ended",
        "dev  90 min ago  Unknown: via_upstream",
    ):
        assert f"\n  {line}\n" in f"{text}\n"


@pytest.mark.parametrize(
    ("minutes", "words"), [(0, "0 s"), (1.5, "90 s"), (2, "2 min"), (180, "3 h"), (4320, "3 d")]
)
def test_a_time_is_said_in_one_word(minutes: float, words: str) -> None:
    assert screen.since(minutes_ago(minutes), NOW) == words
