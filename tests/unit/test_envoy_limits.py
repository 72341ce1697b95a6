"""A real Envoy passes on what BuildKit itself passes on, however many and however large."""

import itertools
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi_buildkit import Protocol

from tests import http2
from tests.envoy_gateway import write_clients
from tests.running_gateway import (
    HTTP2_PREFACE,
    REASON,
    SOLVE,
    Gateway,
    buildkitd,
    client,
    connection,
    details,
    fail,
    running,
    solve,
    until,
)

# `docker buildx bake` with 1,000 targets, and what else its client asks.
STREAMS = 3100
# Of a flood's parts, of which each is a hundred frames or more.
ENOUGH = 20_000


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
        calls = [channel.unary_unary(SOLVE).future(b"", timeout=60) for _ in range(STREAMS)]
        all_of_them = {STREAMS + 1}
        until(
            lambda: set(active(gateway).values()) == all_of_them, what=lambda: str(active(gateway))
        )
        for call in calls:
            call.cancel()
        until(lambda: set(active(gateway).values()) == {1}, what=lambda: str(active(gateway)))
        go_on.set()
        assert stays.result() == b"built"


def resets() -> Iterator[bytes]:
    """Calls that are reset at once."""
    for first in itertools.count(1, 200):
        streams = range(first, first + 200, 2)
        yield b"".join(http2.call(SOLVE, stream=n) + http2.reset(n) for n in streams)


def many(frame: bytes, first: bytes = b"") -> Iterator[bytes]:
    return itertools.chain([first], itertools.repeat(1000 * frame))


FLOODS: dict[str, Callable[[], Iterator[bytes]]] = {
    "PING": lambda: many(http2.frame(http2.PING, bytes(8))),
    "SETTINGS": lambda: many(http2.frame(http2.SETTINGS)),
    "RST_STREAM": resets,
    "empty DATA": lambda: many(http2.frame(http2.DATA, stream=1), http2.call(SOLVE)),
    "PRIORITY": lambda: many(http2.frame(http2.PRIORITY, (1).to_bytes(5), stream=3)),
    "WINDOW_UPDATE": lambda: many(http2.frame(http2.WINDOW_UPDATE, (1).to_bytes(4))),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_client_that_floods_is_cut_off_and_takes_nothing_from_others(
    gateway: Gateway, flood: str
) -> None:
    go_on = threading.Event()

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        # One is a build that began before.
        go_on.wait(60 if request else 0)
        return b"built"

    write_clients(gateway.root, ["dev", "ci"])
    with buildkitd(gateway, answer=answer), client(gateway, "ci") as others:
        until(lambda: asked(others).exception() is None, what=lambda: "ci is not let in")
        running = solve(others)
        slowest = 0.0
        most = before = memory(gateway)
        with connection(gateway, gateway.client("dev")) as floods:
            floods.sendall(HTTP2_PREFACE)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                for number, frames in enumerate(FLOODS[flood]()):
                    floods.sendall(frames)
                    if number % 20 == 0:
                        began = time.monotonic()
                        asked(others).result()
                        slowest = max(slowest, time.monotonic() - began)
                        most = max(most, memory(gateway))
                    assert number < ENOUGH, "it is not cut off"
        assert slowest < 5
        assert most - before < 128 * 2**20
        go_on.set()
        assert running.result() == b"built"


def asked(channel: grpc.Channel) -> Any:
    """A call that is answered at once."""
    return channel.unary_unary(SOLVE).future(b"", timeout=20)


def memory(gateway: Gateway) -> int:
    return int(json.loads(gateway.get("admin", "/memory"))["allocated"])


def test_many_headers_pass_both_ways(gateway: Gateway) -> None:
    many = tuple((f"x-{number}", "value") for number in range(1000))

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata(many)
        context.set_trailing_metadata(many)
        return str(len(set(context.invocation_metadata()) & set(many))).encode()

    with buildkitd(gateway, answer=answer), client(gateway) as channel:
        call = channel.unary_unary(SOLVE).future(b"", timeout=20, metadata=many)
        assert call.result() == b"1000"
        for metadata in (call.initial_metadata(), call.trailing_metadata()):
            assert {(name, value) for name, value in metadata} >= {*many}


@pytest.mark.parametrize("kib", [1, 59, 64, 100, 1024, 3 * 1024])
def test_an_error_reaches_the_client_with_a_dockerfile_of_any_size(
    gateway: Gateway, kib: int
) -> None:
    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        fail(context, kib * 1024)

    with buildkitd(gateway, answer=answer), client(gateway) as channel:
        error = solve(channel)
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, REASON)
        assert ("grpc-status-details-bin", details(kib * 1024)) in error.trailing_metadata()


# gRPC puts five bytes before a message. https://github.com/envoyproxy/envoy/issues/40821: Envoy's
# codec oghttp2 lost the trailers of a body that was as large as HTTP/2's first window.
EDGES = {16384: 60, 65535: 60, 2 * 65535: 60, 2**20: 60, 16 * 2**20 - 64: 4}
EACH_EDGE = pytest.mark.parametrize(("edge", "sizes"), EDGES.items())


@EACH_EDGE
def test_a_response_of_any_size_keeps_its_trailers(gateway: Gateway, edge: int, sizes: int) -> None:
    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("last", "word"),))
        return bytes(int(request))

    with buildkitd(gateway, answer=answer), client(gateway) as channel:
        for size in around(edge, sizes):
            call = channel.unary_unary(SOLVE).future(str(size).encode(), timeout=20)
            assert len(call.result()) == size
            assert ("last", "word") in call.trailing_metadata()


@EACH_EDGE
def test_a_request_of_any_size_ends(gateway: Gateway, edge: int, sizes: int) -> None:
    with buildkitd(gateway), client(gateway) as channel:
        for size in around(edge, sizes):
            assert solve(channel, size).result().endswith(f" {size}".encode())


def around(edge: int, sizes: int) -> range:
    return range(edge - 5 - sizes // 2, edge - 5 + sizes // 2)
