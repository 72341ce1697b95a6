"""A real Envoy passes on what BuildKit itself passes on, however many and however large."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi_buildkit import Protocol

from tests.running_gateway import SOLVE, Gateway, buildkitd, client, running, until

# `docker buildx bake` with 1,000 targets, and what else its client asks.
STREAMS = 3100
MIB = 2**20


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with running(tmp_path, Protocol.HTTP2) as gateway:
        yield gateway


def active(gateway: Gateway) -> dict[str, int]:
    return gateway.statistics("^(http.buildkit.downstream|cluster.buildkitd.upstream)_rq_active$")


def test_a_connection_has_as_many_streams_as_a_bake_of_a_thousand_targets(
    gateway: Gateway,
) -> None:
    go_on = threading.Event()

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        go_on.wait(60)
        return context.peer().encode()

    with buildkitd(gateway, answer=answer), client(gateway) as channel:
        calls = [channel.unary_unary(SOLVE).future(b"", timeout=60) for _ in range(STREAMS)]
        try:
            until(
                lambda: set(active(gateway).values()) == {STREAMS},
                what=lambda: str(active(gateway)),
            )
        finally:
            go_on.set()
        # On a second connection they would be other builds'.
        assert len({call.result() for call in calls}) == 1


def test_cancelled_streams_leave_the_others_of_their_connection_alone(gateway: Gateway) -> None:
    go_on = threading.Event()

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        go_on.wait(60)
        return b"built"

    with buildkitd(gateway, answer=answer), client(gateway) as channel:
        stays = channel.unary_unary(SOLVE).future(b"", timeout=60)
        until(lambda: set(active(gateway).values()) == {1}, what=lambda: str(active(gateway)))
        calls = [channel.unary_unary(SOLVE).future(b"", timeout=60) for _ in range(1000)]
        until(lambda: set(active(gateway).values()) == {1001}, what=lambda: str(active(gateway)))
        for call in calls:
            call.cancel()
        until(lambda: set(active(gateway).values()) == {1}, what=lambda: str(active(gateway)))
        go_on.set()
        assert stays.result() == b"built"


def test_many_headers_pass_both_ways(gateway: Gateway) -> None:
    many = [(f"x-{number}", "value") for number in range(1000)]

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata(many)
        context.set_trailing_metadata(many)
        return str(len(set(context.invocation_metadata()) & set(many))).encode()

    with buildkitd(gateway, answer=answer), client(gateway) as channel:
        call = channel.unary_unary(SOLVE).future(b"", timeout=20, metadata=many)
        assert call.result() == b"1000"
        for metadata in (call.initial_metadata(), call.trailing_metadata()):
            assert {(name, value) for name, value in metadata} >= {*many}
