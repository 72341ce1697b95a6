"""A real Envoy keeps its memory within its container's limit, and goes on for everybody else."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pulumi_buildkit import Protocol, _envoy

from tests.running_gateway import (
    SOLVE,
    Gateway,
    buildkitd,
    client,
    healthy,
    running,
    solve,
    until,
)

MEMORY = 256 * 2**20
INFO = "/moby.buildkit.v1.Control/Info"
DEFINITION = bytes(15 * 2**20)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with running(tmp_path, Protocol.HTTP2, memory=MEMORY) as gateway:
        yield gateway


def resets(gateway: Gateway) -> int:
    name = "envoy.overload_actions.reset_high_memory_stream.count"
    return gateway.statistics(f"^{name}$")[name]


def test_a_builder_that_fills_the_memory_loses_its_own_streams_and_nobody_else_s(
    gateway: Gateway,
) -> None:
    with client(gateway) as greedy, client(gateway) as other:
        modest = solve(other)
        held = [greedy.unary_unary(SOLVE).future(DEFINITION, timeout=60) for _ in range(40)]
        until(lambda: resets(gateway) > 0, what=lambda: "nothing is reset")
        with buildkitd(gateway):
            assert modest.result().endswith(b" 1")
            errors = [error for call in held if (error := call.exception())]
            # It goes on when there is room again.
            assert solve(other).result()
    assert errors
    assert {line["client"] for line in gateway.log() if line.get("reason") == "overload"} == {
        "spiffe://buildkit/client/dev"
    }
    assert b"envoy_overload_actions_reset_high_memory_stream_count" in gateway.get(
        "metrics", _envoy.METRICS_PATH
    )


@pytest.mark.parametrize(("rpc", "fills"), [(INFO, False), (SOLVE, True)])
def test_only_build_definitions_are_kept_for_another_try(
    gateway: Gateway, rpc: str, fills: bool
) -> None:
    with client(gateway) as channel:
        held = [channel.unary_unary(rpc).future(DEFINITION, timeout=60) for _ in range(5)]
        until(
            lambda: bool(resets(gateway)) or received(gateway) > 5 * len(DEFINITION),
            what=lambda: f"{received(gateway)} bytes of {held}",
        )
        assert bool(resets(gateway)) is fills


def received(gateway: Gateway) -> int:
    name = "http.buildkit.downstream_cx_rx_bytes_total"
    return gateway.statistics(f"^{name}$")[name]


def test_strangers_that_say_nothing_keep_a_client_out_for_seconds_only(tmp_path: Path) -> None:
    with (
        running(tmp_path, Protocol.HTTP2, memory=MEMORY // 4) as gateway,
        client(gateway) as patient,
        buildkitd(gateway),
        contextlib.ExitStack() as stack,
    ):
        assert solve(patient).result()
        address = ("127.0.0.1", gateway.port)
        for _ in range(1300):
            stranger = socket.create_connection(address, timeout=5)
            stack.enter_context(stranger)
        until(lambda: refused(gateway) > 0, what=lambda: "all strangers are let in")
        # Who is in goes on; probes and Prometheus are answered.
        assert solve(patient).result()
        assert healthy(gateway.ports["health"])
        with client(gateway) as newcomer:
            call = newcomer.unary_unary(SOLVE).future(b"", timeout=60, wait_for_ready=True)
            assert call.result()


def refused(gateway: Gateway) -> int:
    name = "listener.clients.downstream_global_cx_overflow"
    return gateway.statistics(f"^{name}$")[name]
