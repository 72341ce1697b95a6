"""A real Envoy with the gateway's files, on this machine, and a stand-in for buildkitd."""

import contextlib
import copy
import http.client
import json
import random
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
from pulumi_buildkit import Protocol, _envoy, _xds
from pulumi_buildkit.gateway import ENVOY_OPTIONS
from pulumi_buildkit.secret_layout import FILES

from tests.envoy_gateway import (
    BINARY,
    UPSTREAM,
    Authority,
    write_bootstrap,
    write_certificates,
    write_clients,
)

SOLVE = "/moby.buildkit.v1.Control/Solve"
HTTP2_SETTINGS = 4
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(
    [0, 0, 0, HTTP2_SETTINGS, 0, 0, 0, 0, 0]
)


@dataclass(frozen=True)
class Gateway:
    """A gateway on this machine, and all that its clients and buildkitd need."""

    root: Path
    ports: dict[str, int]
    """Of each listener, by name, and of the admin interface."""
    upstream_port: int
    edge: Authority
    internal: Authority

    @property
    def port(self) -> int:
        return self.ports["clients"]

    def client(self, name: str, authority: Authority | None = None) -> Path:
        return (authority or self.edge).client(self.root / "clients" / name, name)

    def log(self) -> list[dict[str, Any]]:
        """What it wrote to its standard output."""
        return [json.loads(line) for line in (self.root / "log.json").read_text().splitlines()]

    def statistics(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose name *pattern* finds."""
        said = self.get("admin", f"/stats?filter={pattern}").decode()
        return {name: int(value) for name, value in re.findall(r"(?m)^(\S+): (\d+)$", said)}

    def get(self, listener: str, path: str) -> bytes:
        """What a listener, or the admin interface, answers to a plain request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[listener], timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read()

    def content_type(self, listener: str, path: str) -> str:
        """The type of what a listener answers to a plain request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[listener], timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().headers["Content-Type"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_this_machine(document: dict[str, Any]) -> dict[str, int]:
    """Give a bootstrap other ports, so that tests can run side by side; by listener."""
    # Some of it is the same object in every bootstrap.
    static = document["static_resources"] = copy.deepcopy(document["static_resources"])
    listeners = static["listeners"]
    there = {listener["name"]: listener for listener in listeners if "address" in listener}
    ports = {name: free_port() for name in [*there, "admin"]}
    for name, listener in {**there, "admin": document["admin"]}.items():
        listener["address"]["socket_address"] |= {"address": "127.0.0.1", "port_value": ports[name]}
    for cluster in static["clusters"]:
        if cluster["name"] == "admin":
            cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"] = {
                "address": document["admin"]["address"]
            }
    return ports


@contextlib.contextmanager
def envoy(root: Path, config: Path, health_port: int) -> Iterator[None]:
    command = [str(BINARY), "--config-path", str(config), *ENVOY_OPTIONS]
    with (
        (root / "log").open("w") as log,
        (root / "log.json").open("w") as access_log,
        subprocess.Popen(command, stdout=access_log, stderr=log) as process,
    ):
        try:
            until(lambda: healthy(health_port), what=lambda: (root / "log").read_text())
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def resetting(port: int) -> Iterator[list[socket.socket]]:
    """Takes connections, and resets them: a buildkitd that is killed, or the proxy of one."""
    resets: list[socket.socket] = []
    at_once = struct.pack("ii", 1, 0)

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = listening.accept()
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                taken.close()
                resets.append(taken)

    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as there:
        thread = threading.Thread(target=serve, args=(there,))
        thread.start()
        try:
            yield resets
        finally:
            there.shutdown(socket.SHUT_RDWR)
            thread.join()


def healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", _envoy.HEALTH_PATH)
        return connection.getresponse().status == 200
    return False


def until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


@contextlib.contextmanager
def running(
    root: Path, protocol: Protocol, hold: int = 600, memory: int | None = None, **downstream: Any
) -> Iterator[Gateway]:
    """A gateway that lets the client `dev` in, with no buildkitd behind it yet."""
    edge, internal = Authority("edge"), Authority("internal")
    upstream = free_port()
    write_certificates(root, edge, internal)
    write_clients(root, ["dev"])
    document = _envoy.bootstrap(
        protocol,
        _envoy.Upstream(UPSTREAM, upstream),
        _envoy.Downstream(hold, **{"keepalive": 30, **downstream}),
        memory,
    )
    ports = on_this_machine(document)
    with envoy(root, write_bootstrap(root, document), health_port=ports["health"]):
        yield Gateway(root, ports, upstream, edge, internal)


Answer = Callable[[bytes, grpc.ServicerContext], bytes]


def peer_and_size(request: bytes, context: grpc.ServicerContext) -> bytes:
    """The peer that the gateway came from, and the request's size."""
    return f"{context.peer()} {len(request)}".encode()


REASON = "process did not complete successfully: exit code: 1"


def fail(context: grpc.ServicerContext, size: int) -> NoReturn:
    """End an RPC as BuildKit does, with a Dockerfile of that *size* in the trailers."""
    context.set_trailing_metadata((("grpc-status-details-bin", details(size)),))
    context.abort(grpc.StatusCode.UNKNOWN, REASON)


def details(size: int) -> bytes:
    # HPACK does not make it smaller.
    return random.Random(size).randbytes(size)


class Buildkitd(grpc.GenericRpcHandler):
    """Answers every RPC in the same way."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer)


# gRPC's C library takes 16 KiB by default; Go's, which BuildKit and its clients use, 16 MiB.
METADATA = [("grpc.max_metadata_size", 16 * 2**20), ("grpc.absolute_max_metadata_size", 16 * 2**20)]

# Above 1,000 pending requests gRPC's C library drops further ones; Go's never does.
PENDING = [
    ("grpc.server.max_pending_requests", 2**20),
    ("grpc.server.max_pending_requests_hard_limit", 2**20),
]


@contextlib.contextmanager
def buildkitd(
    gateway: Gateway, authority: Authority | None = None, answer: Answer = peer_and_size
) -> Iterator[None]:
    """A stand-in for buildkitd that only clients of its CA may talk to."""
    directory = gateway.root / "buildkitd"
    (authority or gateway.internal).server(directory)
    _, certificate, key = pem_files(directory)
    ca = (Path(f"{gateway.root}{_xds.UPSTREAM_CERTIFICATES}") / "ca.pem").read_bytes()
    server = grpc.server(
        futures.ThreadPoolExecutor(4),
        [Buildkitd(answer)],
        options=[("grpc.max_receive_message_length", -1), *METADATA, *PENDING],
    )
    server.add_secure_port(
        f"{UPSTREAM}:{gateway.upstream_port}",
        grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True),
    )
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


def pem_files(directory: Path) -> Iterator[bytes]:
    return ((directory / name).read_bytes() for name in FILES)


@contextlib.contextmanager
def client(gateway: Gateway, name: str = "dev") -> Iterator[grpc.Channel]:
    """A connection of its own to the gateway."""
    ca, certificate, key = pem_files(gateway.client(name))
    with grpc.secure_channel(
        f"127.0.0.1:{gateway.port}",
        grpc.ssl_channel_credentials(ca, key, certificate),
        options=[
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
            *METADATA,
        ],
    ) as channel:
        yield channel


@contextlib.contextmanager
def connection(
    gateway: Gateway, files: Path | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
) -> Iterator[ssl.SSLSocket]:
    """Connect as the client with these *files*, by TLS 1.2: 1.3 refuses after the handshake."""
    context = ssl.create_default_context(cafile=str(gateway.client("any") / "ca.pem"))
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    if files:
        context.load_cert_chain(files / "cert.pem", files / "key.pem")
    with (
        socket.create_connection(("127.0.0.1", gateway.port), timeout=15) as plain,
        context.wrap_socket(plain, server_hostname=UPSTREAM) as connection,
    ):
        yield connection


def solve(channel: grpc.Channel, size: int = 1) -> Any:
    return channel.unary_unary(SOLVE).future(bytes(size), timeout=20)
