"""What Prometheus reads of a real Envoy with the gateway's files."""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi_buildkit import Protocol, _access_log, _envoy
from pulumi_buildkit.certificates import client_uri

from tests.running_gateway import (
    SOLVE,
    Gateway,
    buildkitd,
    client,
    resetting,
    running,
    solve,
    until,
)

CONTROL = "/moby.buildkit.v1.Control/"
DEV = client_uri("dev")
HOLD = 2
Metrics = dict[str, float]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with running(tmp_path, Protocol.HTTP2, HOLD) as gateway:
        yield gateway


def metrics(gateway: Gateway) -> Metrics:
    lines = gateway.get("metrics", _envoy.METRICS_PATH).decode().splitlines()
    said = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name.removesuffix("{}"): float(value) for name, _, value in said}


def shows(gateway: Gateway, expected: Metrics) -> None:
    """Wait until these are among what Prometheus reads."""

    def seen() -> Metrics:
        now = metrics(gateway)
        return {name: now[name] for name in expected if name in now}

    until(lambda: seen() == expected, what=lambda: f"{seen()} is not {expected}")


def finished(outcome: str) -> str:
    return f'envoy_buildkit_builds_finished{{client="{DEV}",outcome="{outcome}"}}'


def call(channel: grpc.Channel, rpc: str) -> Any:
    return channel.unary_unary(rpc).future(b"", timeout=20)


def test_builds_are_counted_by_client_and_outcome(gateway: Gateway) -> None:
    with client(gateway) as channel:
        with buildkitd(gateway):
            for _ in range(2):
                solve(channel, size=1000).result()
        shows(gateway, {finished("OK"): 2, "envoy_buildkit_build_milliseconds_count": 2})
        gone = solve(channel)
        shows(gateway, {"envoy_buildkit_builds": 1})
        gone.cancel()
        shows(gateway, {finished(""): 1})
        with pytest.raises(grpc.RpcError):
            solve(channel).result()
        shows(gateway, {finished("Unavailable"): 1, "envoy_buildkit_builds": 0})
    now = metrics(gateway)
    assert now[f'envoy_buildkit_bytes_received{{client="{DEV}"}}'] > 2000
    assert now[f'envoy_buildkit_bytes_sent{{client="{DEV}"}}'] > 0
    assert now[f'envoy_buildkit_holds_expired{{client="{DEV}"}}'] == 1


@pytest.mark.parametrize("rpc", _access_log.NOT_HELD)
def test_what_is_not_held_is_no_hold_that_expired(gateway: Gateway, rpc: str) -> None:
    with client(gateway) as channel, resetting(gateway.upstream_port):
        error = call(channel, rpc).exception()
    assert "hold" not in error.details()
    assert not any("holds_expired" in name for name in metrics(gateway))


def test_the_metrics_are_of_a_type_that_prometheus_3_reads(gateway: Gateway) -> None:
    # It refuses an answer whose type it does not know; its version 2 took any.
    kind = gateway.content_type("metrics", _envoy.METRICS_PATH)
    assert kind.partition(";")[0] == "text/plain"


def test_a_hold_is_measured_by_what_a_client_asks_first(gateway: Gateway) -> None:
    with client(gateway) as channel:
        began = time.monotonic()
        asked = call(channel, f"{CONTROL}ListWorkers")
        until(lambda: metrics(gateway)[_envoy.WAITING_METRIC] > 0, what=lambda: "nothing waits")
        waits = time.monotonic()
        with buildkitd(gateway):
            came = time.monotonic()
            asked.result()
            ended = time.monotonic()
            # What comes next finds a connection that is there.
            call(channel, f"{CONTROL}Info").result()
        shows(gateway, {"envoy_buildkit_hold_milliseconds_count": 2})
    # Envoy's histograms are a tenth off at most.
    held = metrics(gateway)["envoy_buildkit_hold_milliseconds_sum"] / 1000
    assert 0.9 * (came - waits) < held < 1.1 * (ended - began) + 0.1


def test_each_rpc_has_statistics_and_made_up_ones_have_none(gateway: Gateway) -> None:
    with client(gateway) as channel, buildkitd(gateway):
        call(channel, SOLVE).result()
        call(channel, f"{CONTROL}Info").result()
        for number in range(3):
            call(channel, f"/moby.buildkit.v1.frontend.LLBBridge/MadeUp{number}").result()
    named = {
        f'envoy_cluster_grpc_success{{envoy_cluster_name="buildkitd",rpc="{rpc}"}}': 1.0
        for rpc in ("moby.buildkit.v1.Control.Solve", "moby.buildkit.v1.Control.Info")
    }
    together = {'envoy_cluster_grpc_success{envoy_cluster_name="buildkitd"}': 3.0}
    shows(gateway, {**named, **together})
    assert not any("MadeUp" in name for name in metrics(gateway))


def test_what_is_refused_is_counted(gateway: Gateway) -> None:
    with client(gateway) as channel, contextlib.suppress(grpc.RpcError):
        call(channel, f"{CONTROL}Prune").result()
    shows(gateway, {'envoy_http_rbac_denied{envoy_http_conn_manager_prefix="buildkit"}': 1})


@pytest.mark.parametrize("protocol", Protocol)
def test_the_end_of_each_certificate_is_known(tmp_path: Path, protocol: Protocol) -> None:
    with running(tmp_path, protocol) as gateway:
        ends = {name for name in metrics(gateway) if "certificate_expiration" in name}
    named = {
        found[1] for name in ends if (found := re.search('envoy_tls_certificate="(.+?)"', name))
    }
    assert named == {"clients", "server", "buildkitd", "gateway"}


def test_bytes_are_counted_where_only_bytes_are_seen(tmp_path: Path) -> None:
    received = 'envoy_tcp_downstream_cx_rx_bytes_total{envoy_tcp_prefix="buildkit"}'
    with running(tmp_path, Protocol.TCP) as gateway, buildkitd(gateway), client(gateway) as channel:
        solve(channel, size=1000).result()
        assert metrics(gateway)[received] > 1000


TRICKS = [
    "?|.*",
    "?filter=.*",
    "?&filter=.*",
    "?usedonly",
    "?text_readouts",
    "?format=json",
    "?histogram_buckets=detailed",
    "?)|(.*",
    ";x?|.*",
    "/../stats",
    "/",
    "%3F%7C.*",
    "//",
]


@pytest.mark.parametrize("path", [_envoy.METRICS_PATH, _envoy.BUILDS_PATH])
def test_no_query_and_no_path_shows_more_than_the_metrics(gateway: Gateway, path: str) -> None:
    def families(asked: str) -> set[bytes]:
        return set(re.findall(rb"(?m)^# TYPE (\S+)", gateway.get("metrics", asked)))

    expected = families(path)
    assert expected
    for trick in TRICKS:
        assert families(f"{path}{trick}") in (expected, set()), trick
    # A scraper with parameters of its own gets its answer.
    assert families(f"{path}?a=b") == expected
