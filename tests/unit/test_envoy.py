"""Envoy's configuration: its schema, what Envoy itself says of it, and figures that keep builds."""

import copy
import importlib
import json
import pkgutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from pulumi_buildkit import Protocol, Role, _envoy, _xds
from pulumi_buildkit.certificates import client_uri

from tests.envoy_gateway import (
    BINARY,
    Authority,
    write_bootstrap,
    write_certificates,
    write_clients,
)
from tests.running_gateway import on_this_machine

PROTOCOLS = pytest.mark.parametrize("protocol", Protocol, ids=lambda protocol: protocol.value)
HOLDS = pytest.mark.parametrize("hold", [0, 600, 86_400])
KEEPALIVES = pytest.mark.parametrize("keepalive", [0, 30])
LOAD_BALANCERS = pytest.mark.parametrize("proxy_protocol", [False, True], ids=["", "PROXY"])

# Its published schema has no gauges and no limit of resets yet: what these have, Envoy alone says
# when it starts.
NEWER_FIELDS = ("stream_reset_burst", "stream_reset_rate")
NEWER = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"

Json = dict[str, Any]


def bootstrap(
    protocol: Protocol, hold: int = 600, keepalive: int = 30, proxy_protocol: bool = False
) -> Json:
    downstream = _envoy.Downstream(hold, keepalive, proxy_protocol=proxy_protocol)
    return _envoy.bootstrap(protocol, _envoy.Upstream("buildkitd.build.svc", 1234), downstream)


def objects(value: Any) -> Iterator[Json]:
    """Every object in *value*, itself included."""
    if isinstance(value, dict):
        yield value
        value = value.values()
    if not isinstance(value, str | int | float):
        for inner in value:
            yield from objects(inner)


def typed(document: Json, name: str) -> Json:
    """The one message of the type *name* in *document*."""
    (message,) = (o for o in objects(document) if o.get("@type", "").endswith(f".{name}"))
    return message


def requests_filter() -> Json:
    """The HTTP connection manager that clients' requests go through."""
    (listener,) = (
        listener
        for listener in bootstrap(Protocol.HTTP2)["static_resources"]["listeners"]
        if listener["name"] == "clients"
    )
    return typed(listener, "HttpConnectionManager")


def against_schema(document: Json, message: str) -> None:
    """Fail on any field of *document* that Envoy's own schema doesn't have."""
    document = copy.deepcopy(document)
    for newer in [o for o in objects(document) if o.get("@type") == NEWER]:
        newer.clear()
    for each in [*objects(document)]:
        for field in NEWER_FIELDS:
            each.pop(field, None)
    embedded = {o["@type"].split("/")[1] for o in objects(document) if "@type" in o}
    for package in {name.rpartition(".")[0] for name in (message, *embedded)}:
        parent = importlib.import_module(package)
        for module in pkgutil.iter_modules(parent.__path__, f"{package}."):
            if module.name.endswith("_pb2"):
                importlib.import_module(module.name)
    descriptor = descriptor_pool.Default().FindMessageTypeByName(message)
    # ParseDict takes types out of the very document, parts of which all bootstraps share.
    text = json.dumps(document)
    json_format.Parse(text, message_factory.GetMessageClass(descriptor)())


def documents(*names: str) -> dict[str, Json]:
    """The watched files that let builders in, whose certificates have these *names*."""
    return _xds.documents([_xds.Client(name, Role.BUILDER) for name in names], "host")


@PROTOCOLS
@HOLDS
@KEEPALIVES
@LOAD_BALANCERS
def test_the_bootstrap_has_only_fields_that_envoy_has(
    protocol: Protocol, hold: int, keepalive: int, proxy_protocol: bool
) -> None:
    document = bootstrap(protocol, hold, keepalive, proxy_protocol)
    against_schema(document, "envoy.config.bootstrap.v3.Bootstrap")


@pytest.mark.parametrize("name", documents())
def test_a_watched_file_has_only_fields_that_envoy_has(name: str) -> None:
    document = documents("spiffe://a", "a", "::1")[name]
    # The DiscoveryResponse around it has a type that Pulumi has, too: one process can't load both.
    assert list(document) == ["resources"]
    (resource,) = document["resources"]
    against_schema(resource, "google.protobuf.Any")


@pytest.mark.parametrize(("protocol", "unread"), [(Protocol.HTTP2, []), (Protocol.TCP, ["roles"])])
def test_envoy_reads_every_watched_file_but_roles_where_it_sees_no_rpc(
    protocol: Protocol, unread: list[str]
) -> None:
    read = {o["path"] for o in objects(bootstrap(protocol)) if o.get("path", "")[-5:] == ".json"}
    files = set(documents()) - {f"{name}.json" for name in unread}
    assert read == {f"{_xds.DIRECTORY}/{name}" for name in files}


@PROTOCOLS
@HOLDS
@KEEPALIVES
@LOAD_BALANCERS
def test_envoy_accepts_its_configuration(
    tmp_path: Path, protocol: Protocol, hold: int, keepalive: int, proxy_protocol: bool
) -> None:
    write_certificates(tmp_path, Authority("edge"), Authority("internal"))
    write_clients(tmp_path, ["dev"])
    config = write_bootstrap(tmp_path, bootstrap(protocol, hold, keepalive, proxy_protocol))
    command = [str(BINARY), "--mode", "validate", "--config-path", str(config)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, "OK" in result.stdout) == (0, True), result.stderr


def test_a_client_is_known_by_one_exact_uri() -> None:
    (secret,) = documents(client_uri("dev"), client_uri("ci"))["clients.json"]["resources"]
    assert secret["validation_context"]["match_typed_subject_alt_names"] == [
        {"san_type": "URI", "matcher": {"exact": "spiffe://buildkit/client/dev"}},
        {"san_type": "URI", "matcher": {"exact": "spiffe://buildkit/client/ci"}},
    ]


@PROTOCOLS
def test_a_certificate_is_demanded_of_clients_whatever_their_list_says(protocol: Protocol) -> None:
    assert typed(bootstrap(protocol), "DownstreamTlsContext")["require_client_certificate"] is True


def builds_route() -> Json:
    """What happens to all requests but those with the clients' traces."""
    (host,) = requests_filter()["route_config"]["virtual_hosts"]
    (route,) = (route for route in host["routes"] if route["match"] == {"prefix": "/"})
    return route["route"]


def clusters(protocol: Protocol, hold: int = 600) -> dict[str, Json]:
    """All of them by their names."""
    resources = bootstrap(protocol, hold)["static_resources"]
    return {cluster["name"]: cluster for cluster in resources["clusters"]}


@pytest.mark.parametrize("timeout", ["stream_idle_timeout", "request_timeout"])
def test_a_silent_request_is_never_ended(timeout: str) -> None:
    assert requests_filter()[timeout] == "0s"


def test_a_long_request_is_never_ended() -> None:
    assert builds_route()["timeout"] == "0s"


def test_a_silent_tcp_connection_is_never_ended() -> None:
    assert typed(bootstrap(Protocol.TCP), "TcpProxy")["idle_timeout"] == "0s"


def test_clients_are_pinged_oftener_than_load_balancers_forget_them() -> None:
    # 60 s is the least that a large cloud's load balancer allows a connection to be idle.
    keepalive = requests_filter()["http2_protocol_options"]["connection_keepalive"]
    assert float(keepalive["interval"].removesuffix("s")) < 60


def test_tcp_keepalive_takes_the_place_of_pings_where_bytes_are_passed_on() -> None:
    (clients, *_) = bootstrap(Protocol.TCP)["static_resources"]["listeners"]
    options = {option["description"]: option["int_value"] for option in clients["socket_options"]}
    assert options["SO_KEEPALIVE"] == 1
    assert options["TCP_KEEPIDLE"] == 30


@pytest.mark.parametrize(("protocol", "keepalive"), [(Protocol.TCP, 0), (Protocol.HTTP2, 30)])
def test_a_client_s_socket_has_no_keepalive(protocol: Protocol, keepalive: int) -> None:
    document = bootstrap(protocol, keepalive=keepalive)
    assert "socket_options" not in document["static_resources"]["listeners"][0]


@PROTOCOLS
def test_buildkitd_is_never_pinged(protocol: Protocol) -> None:
    assert "connection_keepalive" not in json.dumps(clusters(protocol))


def options(document: Any) -> dict[str, int]:
    """The options of sockets in *document*."""
    return {o["description"]: o["int_value"] for o in objects(document) if "int_value" in o}


@PROTOCOLS
def test_an_interruption_of_a_minute_cuts_no_buildkitd_off(protocol: Protocol) -> None:
    (keepalive,) = (o["tcp_keepalive"] for o in objects(clusters(protocol)) if "tcp_keepalive" in o)
    assert keepalive["keepalive_interval"] * keepalive["keepalive_probes"] == 90
    assert options(clusters(protocol)) == {"TCP_USER_TIMEOUT": 90_000}


def test_an_interruption_of_a_minute_cuts_no_client_off() -> None:
    assert requests_filter()["http2_protocol_options"]["connection_keepalive"]["timeout"] == "90s"
    clients = options(bootstrap(Protocol.TCP)["static_resources"]["listeners"])
    assert clients["TCP_KEEPINTVL"] * clients["TCP_KEEPCNT"] == 90


@pytest.mark.parametrize("keepalive", [1, 30, 600])
def test_a_client_is_asked_as_often_as_keepalive_says(keepalive: int) -> None:
    clients = options(bootstrap(Protocol.TCP, keepalive=keepalive)["static_resources"]["listeners"])
    # Linux waits for both, whether a probe was answered or not.
    assert max(clients["TCP_KEEPIDLE"], clients["TCP_KEEPINTVL"]) == keepalive
    assert 1 <= clients["TCP_KEEPCNT"] <= 127


@PROTOCOLS
def test_only_the_pod_itself_reaches_the_admin_interface(protocol: Protocol) -> None:
    address = bootstrap(protocol)["admin"]["address"]["socket_address"]
    assert address == {"address": "127.0.0.1", "port_value": _envoy.ADMIN_PORT}


@PROTOCOLS
def test_a_gateway_of_a_test_leaves_the_next_bootstrap_as_it_is(protocol: Protocol) -> None:
    before = json.dumps(bootstrap(protocol))
    on_this_machine(bootstrap(protocol))
    assert json.dumps(bootstrap(protocol)) == before


@pytest.mark.parametrize("hold", [1, 5, 10, 60, 600, 1920, 86_400])
def test_a_hold_is_as_many_tries_as_fill_it(hold: int) -> None:
    route, *others = (
        o["retry_policy"] for o in objects(bootstrap(Protocol.HTTP2, hold)) if "retry_policy" in o
    )
    assert others == [route] * len(others)
    retries = route["num_retries"]
    # Envoy waits a random part of the back-off before each retry: half of it on average.
    pause = seconds(route["retry_back_off"]["max_interval"]) / 2
    each = seconds(clusters(Protocol.HTTP2, hold)["buildkitd"]["connect_timeout"])
    assert retries * pause + (retries + 1) * each == pytest.approx(hold, rel=0.01)
    assert each <= 10  # one that a frozen buildkitd took must not be the last


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


@PROTOCOLS
def test_no_number_of_builds_is_too_many_for_the_gateway(protocol: Protocol) -> None:
    for cluster in clusters(protocol).values():
        (thresholds,) = cluster["circuit_breakers"]["thresholds"]
        assert thresholds == dict.fromkeys(
            ("max_connections", "max_pending_requests", "max_requests", "max_retries"), 2**32 - 1
        )
