"""A real Envoy in front of several stand-ins for buildkitd, each with an address of its own."""

import contextlib
import itertools
import os
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi_buildkit import Protocol, Routing, _envoy
from pulumi_buildkit._drain import READY_PORT
from pulumi_buildkit._farm import Farm
from pulumi_buildkit._message import extension

from bench.names import answer
from tests.envoy_gateway import (
    DOMAIN,
    Authority,
    write_bootstrap,
    write_certificates,
    write_clients,
)
from tests.running_gateway import (
    METADATA,
    REASON,
    SOLVE,
    Gateway,
    details,
    envoy,
    fail,
    free_port,
    on_this_machine,
    pem_files,
    until,
)

PROJECTS = [f"project-{n}.{DOMAIN}" for n in range(60)]
EACH_ROUTING = pytest.mark.parametrize("routing", Routing, ids=lambda routing: routing.value)


class Ready:
    """The port that is open as long as a pod takes new builds."""

    def __init__(self, address: str) -> None:
        self._listener = socket.create_server((address, READY_PORT))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._listener.accept()[0].close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Answers(grpc.GenericRpcHandler):
    """Answers each RPC with who it is; one with a size in it by an error of that size."""

    def __init__(self, address: str) -> None:
        self._address = address.encode()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if request:
            fail(context, int(request))
        return self._address


@dataclass
class Pods:
    """The farm behind one gateway."""

    gateway: Gateway
    addresses: list[str]
    ready: dict[str, Ready] = field(default_factory=dict)
    servers: dict[str, grpc.Server] = field(default_factory=dict)

    def start(self, address: str) -> None:
        directory = self.gateway.root / "buildkitd"
        if not directory.exists():
            self.gateway.internal.server(directory)
        ca, certificate, key = pem_files(directory)
        server = grpc.server(futures.ThreadPoolExecutor(4), [Answers(address)], options=METADATA)
        credentials = grpc.ssl_server_credentials(
            [(key, certificate)], ca, require_client_auth=True
        )
        server.add_secure_port(f"{address}:{self.gateway.upstream_port}", credentials)
        server.start()
        self.servers[address] = server
        self.ready[address] = Ready(address)

    def drains(self, address: str) -> None:
        self.ready.pop(address).close()

    def dies(self, address: str) -> None:
        self.drains(address)
        self.servers.pop(address).stop(None).wait()

    def stop(self) -> None:
        for address in [*self.ready]:
            self.dies(address)
        for server in self.servers.values():
            server.stop(None).wait()

    def takes_new_builds(self, *addresses: str) -> None:
        """Wait until the gateway knows that these do, and no others."""

        def known() -> bool:
            members = self.gateway.statistics("^cluster.address.membership_healthy$")
            # The Service is there always.
            return members == {"cluster.address.membership_healthy": len(addresses) + 1}

        until(known, what=lambda: str(self.gateway.get("admin", "/clusters")))


_USED = itertools.count()


def loopback() -> str:
    """An address of this machine that no other test has."""
    return f"127.{1 + os.getpid() % 250}.{random.randrange(1, 250)}.{1 + next(_USED) % 250}"


@contextlib.contextmanager
def dns(addresses: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The cluster's, with the *addresses* of today by name; what makes Envoy ask it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while (received := server.recvfrom(4096))[0]:
                query, peer = received
                server.sendto(answer(query, addresses), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        host, port = server.getsockname()
        try:
            yield extension(
                "envoy.network.dns_resolver.cares",
                "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                resolvers=[{"socket_address": {"address": host, "port_value": port}}],
            )
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ends:
                ends.sendto(b"", (host, port))
            thread.join()


def name_pods(document: dict[str, Any]) -> None:
    """Give the pods names like those that they are dialled by in a cluster.

    Whom a project meets follows from them, and so it is the same each time, whatever the addresses.
    """
    (cluster,) = (c for c in document["static_resources"]["clusters"] if c["name"] == "address")
    for number, pod in enumerate(cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]):
        pod["endpoint"]["hostname"] = f"buildkitd-{number}.buildkitd-pods"


@contextlib.contextmanager
def farm(
    root: Path,
    routing: Routing,
    number: int,
    hold: int = 600,
    names: dict[str, str] | None = None,
) -> Iterator[Pods]:
    """A gateway with so many buildkitds behind it, none of which runs yet.

    It finds them by their addresses, or by *names* that it is given here and that may change.
    """
    edge, internal = Authority("edge"), Authority("internal")
    write_certificates(root, edge, internal)
    write_clients(root, ["dev", "ci"])
    addresses, upstream = [loopback() for _ in range(number)], free_port()
    hosts = addresses
    with contextlib.ExitStack() as stack:
        further: dict[str, Any] = {}
        if names is not None:
            hosts = [f"buildkitd-{number}.buildkitd-pods.test" for number in range(number)]
            names.update(zip(hosts, addresses, strict=True))
            further = {"typed_dns_resolver_config": stack.enter_context(dns(names))}
        document = _envoy.bootstrap(
            Protocol.HTTP2,
            _envoy.Upstream("localhost", upstream, Farm(tuple(hosts), routing)),
            _envoy.Downstream(hold, 30),
        )
        ports = on_this_machine(document)
        name_pods(document)
        config = write_bootstrap(root, {**document, **further})
        stack.enter_context(envoy(root, config, health_port=ports["health"]))
        pods = Pods(Gateway(root, ports, upstream, edge, internal), addresses)
        try:
            yield pods
        finally:
            pods.stop()


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    """Three of them, which a name leads to."""
    with farm(tmp_path, Routing.HOST_NAME, 3) as pods:
        for address in pods.addresses:
            pods.start(address)
        pods.takes_new_builds(*pods.addresses)
        yield pods


@contextlib.contextmanager
def client(gateway: Gateway, project: str = "", name: str = "dev") -> Iterator[grpc.Channel]:
    """A connection of its own to the gateway, which asks for the host name *project*."""
    ca, certificate, key = pem_files(gateway.client(name))
    options: list[tuple[str, int | str]] = [("grpc.use_local_subchannel_pool", 1), *METADATA]
    if project:
        options.append(("grpc.ssl_target_name_override", project))
    with grpc.secure_channel(
        f"127.0.0.1:{gateway.port}",
        grpc.ssl_channel_credentials(ca, key, certificate),
        options=options,
    ) as channel:
        yield channel


def who(channel: grpc.Channel) -> str:
    return channel.unary_unary(SOLVE).future(b"", timeout=20).result().decode()


def home(pods: Pods, project: str, name: str = "dev") -> str:
    with client(pods.gateway, project, name) as channel:
        return who(channel)


def homes(pods: Pods) -> dict[str, str]:
    return {project: home(pods, project) for project in PROJECTS}


def test_a_project_meets_the_same_buildkitd_whoever_builds_it(pods: Pods) -> None:
    first = homes(pods)
    assert {*first.values()} == {*pods.addresses}
    assert homes(pods) == first
    assert {project: home(pods, project, "ci") for project in PROJECTS} == first


def test_who_dials_an_address_is_known_by_its_certificate(pods: Pods) -> None:
    assert len({home(pods, "", "dev") for _ in range(10)}) == 1


def test_a_pod_that_drains_gives_its_projects_away_until_it_is_back(pods: Pods) -> None:
    first = homes(pods)
    going = first[PROJECTS[0]]
    pods.drains(going)
    pods.takes_new_builds(*({*pods.addresses} - {going}))
    meanwhile = homes(pods)
    assert going not in meanwhile.values()
    moved = {project for project in PROJECTS if meanwhile[project] != first[project]}
    assert {first[project] for project in moved} == {going}
    pods.ready[going] = Ready(going)
    pods.takes_new_builds(*pods.addresses)
    assert homes(pods) == first


def test_the_last_one_has_all_projects(pods: Pods) -> None:
    last = pods.addresses[1]
    for address in {*pods.addresses} - {last}:
        pods.drains(address)
    pods.takes_new_builds(last)
    assert {*homes(pods).values()} == {last}


def test_a_build_stays_where_it_is_while_its_pod_drains_and_others_come(pods: Pods) -> None:
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(client(pods.gateway, p)) for p in PROJECTS[:20]]
        first = [who(channel) for channel in channels]
        pods.drains(pods.addresses[0])
        pods.takes_new_builds(*pods.addresses[1:])
        assert [who(channel) for channel in channels] == first
        pods.ready[pods.addresses[0]] = Ready(pods.addresses[0])
        pods.takes_new_builds(*pods.addresses)
        assert [who(channel) for channel in channels] == first


def members(pods: Pods) -> dict[str, int]:
    """The pods of the farm that the alert BuildKitFarmFallback reads of, and their Service."""
    said = pods.gateway.get("metrics", _envoy.METRICS_PATH).decode()
    found = re.findall(
        r'(?m)^envoy_cluster_membership_(\w+){envoy_cluster_name="address"} (\d+)$', said
    )
    return {kind: int(number) for kind, number in found}


def test_metrics_tell_a_pod_that_is_passed_over_from_one_that_is_not_there(tmp_path: Path) -> None:
    names: dict[str, str] = {}

    def shows(healthy: int, total: int) -> None:
        expected = {"healthy": healthy, "total": total}
        until(lambda: members(pods) == expected, what=lambda: f"{members(pods)} is not {expected}")

    with farm(tmp_path, Routing.HOST_NAME, 3, names=names) as pods:
        shows(healthy=1, total=4)
        for address in pods.addresses[:2]:
            pods.start(address)
        shows(healthy=3, total=4)
        # The cluster's DNS drops a pod that is not ready.
        host, *_ = (name for name, address in names.items() if address == pods.addresses[2])
        del names[host]
        shows(healthy=3, total=3)


def test_a_pod_that_died_is_passed_over(pods: Pods) -> None:
    first = homes(pods)
    dead = first[PROJECTS[0]]
    pods.dies(dead)
    # Who dials it before its death is known waits no longer than that.
    assert home(pods, PROJECTS[0]) in {*pods.addresses} - {dead}


@EACH_ROUTING
def test_while_there_is_no_buildkitd_builds_are_held(tmp_path: Path, routing: Routing) -> None:
    with farm(tmp_path, routing, 2) as pods, client(pods.gateway, PROJECTS[0]) as channel:
        held = channel.unary_unary(SOLVE).future(b"", timeout=20)
        with pytest.raises(grpc.FutureTimeoutError):
            held.result(timeout=2)
        pods.start(pods.addresses[1])
        assert held.result().decode() == pods.addresses[1]


@EACH_ROUTING
def test_a_hold_is_as_long_as_it_should_be(tmp_path: Path, routing: Routing) -> None:
    with farm(tmp_path, routing, 2, hold=4) as pods, client(pods.gateway, PROJECTS[0]) as channel:
        begun = time.monotonic()
        held = channel.unary_unary(SOLVE).future(b"", timeout=20)
        assert held.code() is grpc.StatusCode.UNAVAILABLE
        assert 3 < time.monotonic() - begun < 8


def test_by_client_each_certificate_has_its_buildkitd(tmp_path: Path) -> None:
    with farm(tmp_path, Routing.CLIENT, 3) as pods:
        for address in pods.addresses:
            pods.start(address)
        pods.takes_new_builds(*pods.addresses)
        assert len({home(pods, project) for project in PROJECTS}) == 1


def test_by_least_request_who_builds_alone_meets_them_all(tmp_path: Path) -> None:
    with farm(tmp_path, Routing.LEAST_REQUEST, 2) as pods:
        for address in pods.addresses:
            pods.start(address)
        pods.takes_new_builds(*pods.addresses)
        assert {home(pods, PROJECTS[0]) for _ in range(30)} == {*pods.addresses}


def test_a_failing_build_of_a_large_dockerfile_shows_its_error(pods: Pods) -> None:
    size = 3 * 2**20
    with client(pods.gateway, PROJECTS[0]) as channel:
        error = channel.unary_unary(SOLVE).future(str(size).encode(), timeout=30)
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, REASON)
        assert ("grpc-status-details-bin", details(size)) in error.trailing_metadata()
