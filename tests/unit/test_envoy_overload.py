"""A real Envoy keeps its memory within its container's limit, and goes on for everybody else."""

import contextlib
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi_buildkit import Protocol, _envoy, _overload

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
ACTIONS = "envoy_overload_actions"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with running(tmp_path, Protocol.HTTP2, memory=MEMORY) as gateway:
        yield gateway


def peak(gateway: Gateway) -> int:
    """The most memory that Envoy had, in bytes: VmHWM of proc_pid_status(5)."""
    pattern = f"config-path {gateway.root}/"
    envoy = subprocess.run(["pgrep", "--full", pattern], check=True, capture_output=True).stdout
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{int(envoy)}/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.fixture
def gateway_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """One that takes its heap for full when it is empty."""
    monkeypatch.setattr(_overload, "_REFUSE_REQUESTS", 0.001)
    with running(tmp_path, Protocol.HTTP2, memory=MEMORY) as gateway:
        yield gateway


def resets(gateway: Gateway) -> int:
    name = "envoy.overload_actions.reset_high_memory_stream.count"
    return gateway.statistics(f"^{name}$")[name]


def test_a_builder_that_fills_the_memory_loses_its_own_streams_and_nobody_else_s(
    tmp_path: Path,
) -> None:
    with (
        running(tmp_path, Protocol.HTTP2, memory=2 * MEMORY) as gateway,
        client(gateway) as greedy,
        client(gateway) as other,
    ):
        modest = solve(other)
        held = [greedy.unary_unary(SOLVE).future(DEFINITION, timeout=60) for _ in range(60)]
        until(lambda: resets(gateway) > 0, what=lambda: "nothing is reset")
        with buildkitd(gateway):
            assert modest.result().endswith(b" 1")
            assert [error for call in held if (error := call.exception())]
            # When there is room again.
            until(lambda: not solve(other).exception(), what=lambda: "all is refused")
        assert peak(gateway) < 2 * MEMORY
        metrics = gateway.get("metrics", _envoy.METRICS_PATH).decode()
        assert f"envoy_{ACTIONS}_reset_high_memory_stream_count" in metrics
    assert {line["client"] for line in gateway.log() if line.get("reason") == "overload"} == {
        "spiffe://buildkit/client/dev"
    }


@pytest.mark.parametrize("rpc", [INFO, SOLVE])
def test_a_client_that_is_refused_for_want_of_memory_is_told_so(
    gateway_without_room: Gateway, rpc: str
) -> None:
    gateway = gateway_without_room
    with client(gateway) as channel:
        until(
            lambda: "short of memory (gateway.resources.limits.memory)" in refusal(channel, rpc),
            what=lambda: "it is let in",
        )
    until(
        lambda: (rpc, "overload") in {(it.get("rpc"), it.get("reason")) for it in gateway.log()},
        what=lambda: str(gateway.log()),
    )
    metrics = gateway.get("metrics", _envoy.METRICS_PATH).decode().splitlines()
    assert f"envoy_overload_{ACTIONS}_stop_accepting_requests_active{{}} 1" in metrics


def refusal(channel: grpc.Channel, rpc: str) -> str:
    error: Any = channel.unary_unary(rpc).future(b"", timeout=1).exception()
    return error.details() if error else ""


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
