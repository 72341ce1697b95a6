"""A real Envoy with the gateway's files, between real clients and a stand-in for buildkitd."""

import contextlib
import dataclasses
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from pulumi_buildkit import Protocol, _access_log, _envoy
from pulumi_buildkit.certificates import client_uri

from tests import http2
from tests.envoy_gateway import (
    Authority,
    PrivateKey,
    ecdsa_key,
    ed25519_key,
    p384_key,
    p521_key,
    rsa_key,
    write_certificates,
    write_clients,
    write_sans,
)
from tests.running_gateway import (
    HTTP2_PREFACE,
    HTTP2_SETTINGS,
    SOLVE,
    Gateway,
    buildkitd,
    client,
    connection,
    resetting,
    running,
    solve,
    until,
)

BOTH = pytest.mark.parametrize("gateway", Protocol, indirect=True, ids=lambda p: p.value)
HISTORY = "/moby.buildkit.v1.Control/ListenBuildHistory"
TCP = pytest.mark.parametrize("gateway", [Protocol.TCP], indirect=True, ids=["tcp"])
HTTP2 = pytest.mark.parametrize("gateway", [Protocol.HTTP2], indirect=True, ids=["http2"])


@pytest.fixture
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that lets the client `dev` in, with no buildkitd behind it yet."""
    with running(tmp_path, request.param) as gateway:
        yield gateway


@pytest.fixture
def ready(gateway: Gateway) -> Iterator[Gateway]:
    """The same with a buildkitd: the TCP gateway greets no client before it has reached one."""
    with buildkitd(gateway):
        yield gateway


@dataclass(frozen=True)
class Greeting:
    """How the gateway answers a client that it lets in."""

    alpn: str | None
    certificate: str
    first_frame: bytes


def greet(gateway: Gateway, files: Path | None) -> Greeting:
    with connection(gateway, files) as client:
        certificate = client.getpeercert() or {}
        client.sendall(HTTP2_PREFACE)
        return Greeting(
            client.selected_alpn_protocol(),
            str(certificate["serialNumber"]),
            client.recv(9),
        )


@BOTH
def test_a_client_agrees_on_http2_with_the_gateway(ready: Gateway) -> None:
    assert greet(ready, ready.client("dev")).alpn == "h2"


@HTTP2
def test_the_gateway_answers_while_no_buildkitd_is_there(gateway: Gateway) -> None:
    frame = greet(gateway, gateway.client("dev")).first_frame
    assert frame[3] == HTTP2_SETTINGS


@BOTH
def test_a_client_without_a_certificate_is_not_let_in(ready: Gateway) -> None:
    assert refused(ready, None)


@BOTH
def test_a_client_of_another_ca_is_not_let_in(ready: Gateway) -> None:
    assert refused(ready, ready.client("dev", Authority("edge")))


@BOTH
def test_a_client_that_is_not_listed_is_not_let_in(ready: Gateway) -> None:
    assert refused(ready, ready.client("ci"))


@BOTH
def test_a_deleted_client_is_not_let_in_any_more(ready: Gateway) -> None:
    files = ready.client("dev")
    assert not refused(ready, files)
    write_clients(ready.root, ["ci"])
    until(lambda: refused(ready, files), what=lambda: "dev is still let in")


@BOTH
def test_a_new_client_is_let_in_by_the_running_gateway(ready: Gateway) -> None:
    files = ready.client("ci")
    write_clients(ready.root, ["dev", "ci"])
    until(lambda: not refused(ready, files), what=lambda: "ci is not let in")


@BOTH
def test_a_renewed_certificate_is_shown_by_the_running_gateway(ready: Gateway) -> None:
    files = ready.client("dev")
    old = greet(ready, files).certificate
    write_certificates(ready.root, ready.edge, ready.internal)
    until(lambda: greet(ready, files).certificate != old, what=lambda: f"{old} is still shown")


DNS_NAME = x509.DNSName("client")
ADDRESS = x509.IPAddress(ipaddress.ip_address("fd00::9"))
URI = x509.UniformResourceIdentifier("spiffe://example.com/ci")


@BOTH
@pytest.mark.parametrize(
    ("listed", "san"), [("client", DNS_NAME), ("fd00:0::9", ADDRESS), (URI.value, URI)]
)
def test_a_client_is_let_in_by_a_san_of_any_kind(
    ready: Gateway, listed: str, san: x509.GeneralName
) -> None:
    files = ready.edge.issue(ready.root / "clients" / "own", san)
    assert refused(ready, files)
    write_sans(ready.root, [listed])
    until(lambda: not refused(ready, files), what=lambda: f"{listed} is not let in")


@BOTH
@pytest.mark.parametrize(
    ("listed", "san"),
    [
        ("fd00::9", x509.DNSName("fd00::9")),
        ("client", x509.UniformResourceIdentifier("client")),
        (URI.value, x509.DNSName(URI.value)),
        ("leaf", DNS_NAME),
    ],
)
def test_the_same_text_elsewhere_in_a_certificate_lets_nobody_in(
    ready: Gateway, listed: str, san: x509.GeneralName
) -> None:
    dev = ready.client("dev")
    write_sans(ready.root, [listed])
    until(lambda: refused(ready, dev), what=lambda: "the list is not read")
    assert refused(ready, ready.edge.issue(ready.root / "clients" / "own", san))


@BOTH
@pytest.mark.parametrize("new_key", [ecdsa_key, rsa_key])
def test_what_create_certs_sh_makes_can_be_used(
    ready: Gateway, new_key: Callable[[], PrivateKey]
) -> None:
    """A CA, a server's certificate, and a client's with the DNS name `client`."""
    theirs = Authority("mkcert", new_key)
    write_certificates(ready.root, theirs, ready.internal)
    write_sans(ready.root, ["client"])
    gateway = dataclasses.replace(ready, edge=theirs)
    files = theirs.issue(ready.root / "clients" / "theirs", DNS_NAME)
    until(lambda: not refused(gateway, files), what=lambda: "their client is not let in")
    assert refused(gateway, ready.client("dev"))


KEYS = [rsa_key, ecdsa_key, p384_key, p521_key, ed25519_key]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@BOTH
@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_client_may_have_any_key_that_go_has(ready: Gateway, version: ssl.TLSVersion) -> None:
    uri = x509.UniformResourceIdentifier(client_uri("dev"))
    for new_key in KEYS:
        files = ready.edge.issue(ready.root / new_key.__name__, uri, new_key=new_key)
        with connection(ready, files, version) as client:
            client.sendall(HTTP2_PREFACE)
            assert client.recv(9)[3] == HTTP2_SETTINGS, new_key


@BOTH
@pytest.mark.parametrize("new_key", KEYS)
def test_a_client_s_ca_may_have_any_key_that_go_has(
    ready: Gateway, new_key: Callable[[], PrivateKey]
) -> None:
    theirs = Authority("theirs", new_key)
    write_certificates(ready.root, theirs, ready.internal, server_key=ecdsa_key)
    gateway = dataclasses.replace(ready, edge=theirs)
    files = theirs.client(ready.root / "clients" / "theirs", "dev")
    until(lambda: not refused(gateway, files), what=lambda: "their client is not let in")


def refused(gateway: Gateway, files: Path | None) -> bool:
    try:
        greet(gateway, files)
    except (ssl.SSLError, ConnectionError):
        return True
    return False


def peer(channel: grpc.Channel) -> str:
    return solve(channel).result().decode().split()[0]


@HTTP2
def test_a_build_waits_until_buildkitd_is_there(gateway: Gateway) -> None:
    with client(gateway) as channel:
        answer = solve(channel)
        with pytest.raises(grpc.FutureTimeoutError):
            answer.result(timeout=2)
        with buildkitd(gateway):
            assert answer.result()


@TCP
def test_a_connection_waits_until_buildkitd_is_there(gateway: Gateway) -> None:
    with futures.ThreadPoolExecutor() as pool:
        greeting = pool.submit(greet, gateway, gateway.client("dev"))
        with pytest.raises(TimeoutError):
            greeting.result(timeout=2)
        with buildkitd(gateway):
            assert greeting.result().alpn == "h2"


@HTTP2
def test_a_build_definition_of_16_mib_is_held(gateway: Gateway) -> None:
    with client(gateway) as channel:
        answer = solve(channel, 16 * 2**20)
        with pytest.raises(grpc.FutureTimeoutError):
            answer.result(timeout=1)
        with buildkitd(gateway):
            assert answer.result().endswith(b" 16777216")


@BOTH
def test_a_build_stays_on_one_connection_of_its_own(gateway: Gateway) -> None:
    with buildkitd(gateway), client(gateway) as one, client(gateway) as other:
        assert peer(one) == peer(one)
        assert peer(one) != peer(other)


@BOTH
def test_an_impostor_of_buildkitd_gets_no_build(gateway: Gateway) -> None:
    with (
        buildkitd(gateway, Authority("internal")),
        client(gateway) as channel,
        pytest.raises((grpc.FutureTimeoutError, grpc.RpcError)),
    ):
        solve(channel).result(timeout=2)


@contextlib.contextmanager
def frozen(port: int) -> Iterator[None]:
    """Takes connections, and does nothing with them."""
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True):
        yield


@contextlib.contextmanager
def lost(port: int) -> Iterator[None]:
    """Connects get no answer: nobody takes the one that fills the queue."""
    with (
        socket.create_server(("::", port), family=socket.AF_INET6, backlog=0, dualstack_ipv6=True),
        socket.create_connection(("localhost", port)),
    ):
        yield


NOT_READY = {"refused": lambda port: contextlib.nullcontext(), "frozen": frozen, "lost": lost}
HOLD = 6


@pytest.mark.parametrize("connects", NOT_READY)
def test_a_hold_is_as_long_as_it_should_be_however_connects_fail(
    tmp_path: Path, connects: str
) -> None:
    with running(tmp_path, Protocol.HTTP2, HOLD) as gateway, client(gateway) as channel:
        with NOT_READY[connects](gateway.upstream_port):
            started = time.monotonic()
            error = solve(channel).exception()
        assert time.monotonic() - started == pytest.approx(HOLD, rel=0.1)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error.details().startswith(f"no buildkitd was ready (gateway.hold: {HOLD} s)")


@HTTP2
@pytest.mark.parametrize(
    ("authority", "outcome"),
    [
        ("builds.example.com:1234", "OK"),
        ("192.0.2.1:1234", "OK"),
        # As clients before BuildKit 0.8 send it: https://github.com/moby/buildkit/issues/1464.
        ("tcp://builds.example.com:1234", "refused"),
    ],
)
def test_a_client_may_send_any_authority_that_is_one(
    gateway: Gateway, authority: str, outcome: str
) -> None:
    empty = bytes(5)
    with buildkitd(gateway), connection(gateway, gateway.client("dev")) as raw:
        raw.sendall(HTTP2_PREFACE + http2.call(SOLVE, empty, authority=authority))
        until(
            lambda: outcome in [line.get("outcome") for line in gateway.log()],
            what=lambda: f"{authority}: {gateway.log()}",
        )


@HTTP2
def test_a_hold_outlasts_connections_that_are_reset(gateway: Gateway) -> None:
    with client(gateway) as channel:
        with resetting(gateway.upstream_port) as resets:
            held = solve(channel)
            until(lambda: len(resets) > 3, what=lambda: f"{held}, {len(resets)} resets")
        with buildkitd(gateway):
            held.result()


@HTTP2
@pytest.mark.parametrize("connects", NOT_READY)
def test_nothing_is_left_of_a_client_that_goes(gateway: Gateway, connects: str) -> None:
    with NOT_READY[connects](gateway.upstream_port):
        with client(gateway) as channel:
            answer = solve(channel)
            until(lambda: bool(active(gateway)), what=lambda: "it is not held")
            answer.cancel()
        until(lambda: not active(gateway), what=lambda: str(active(gateway)))


def active(gateway: Gateway) -> dict[str, int]:
    """Connections and requests, the admin interface's own aside."""
    gauges = gateway.statistics("^(http.buildkit|cluster|listener.envoy).*(cx|rq|pending)_active$")
    return {name: value for name, value in gauges.items() if value}


@HTTP2
def test_a_client_s_traces_are_not_held(gateway: Gateway) -> None:
    with client(gateway) as channel:
        export = channel.unary_unary(_access_log.EXPORT).future(b"", timeout=20)
        with pytest.raises(grpc.RpcError):
            export.result(timeout=2)


def numbers(gateway: Gateway) -> dict[str, float]:
    """What whoever scales buildkitd reads."""
    lines = gateway.get("metrics", _envoy.BUILDS_PATH).decode().splitlines()
    said = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name.removesuffix("{}"): float(value) for name, _, value in said}


def shows(gateway: Gateway, running: int, waiting: bool) -> None:
    """Wait until the gateway shows so many builds, and whether anything waits."""

    def shown() -> bool:
        now = numbers(gateway)
        waits = now[_envoy.WAITING_METRIC] > 0
        return now[_envoy.RUNNING_METRIC] == running and waits is waiting

    until(shown, what=lambda: str(numbers(gateway)))


@HTTP2
def test_builds_are_counted_from_their_beginning_to_their_end(gateway: Gateway) -> None:
    assert numbers(gateway) == {_envoy.RUNNING_METRIC: 0, _envoy.WAITING_METRIC: 0}
    with client(gateway) as channel:
        held = [solve(channel) for _ in range(3)]
        shows(gateway, 3, waiting=True)
        held.pop().cancel()
        shows(gateway, 2, waiting=True)
        with buildkitd(gateway):
            for build in held:
                build.result()
            # The connection stays, and is nobody's build.
            shows(gateway, 0, waiting=False)


@HTTP2
def test_who_asks_for_the_history_wakes_a_buildkitd_and_is_no_build(gateway: Gateway) -> None:
    with client(gateway) as channel:
        asked = channel.unary_unary(HISTORY).future(b"", timeout=20)
        shows(gateway, 0, waiting=True)
        with buildkitd(gateway):
            asked.result()
            shows(gateway, 0, waiting=False)


@HTTP2
def test_whoever_scales_buildkitd_sees_nothing_else_of_the_gateway(gateway: Gateway) -> None:
    for path in ("/", "/stats", "/config_dump", "/quitquitquit", "/builds/../stats"):
        assert gateway.get("metrics", path) == b""
    names = {_envoy.RUNNING_METRIC, _envoy.WAITING_METRIC}
    assert {*numbers(gateway)} == names


@pytest.mark.parametrize("timeout", [3, 6])
def test_a_client_has_the_time_that_it_is_given_to_answer_a_ping(
    tmp_path: Path, timeout: int
) -> None:
    with (
        running(tmp_path, Protocol.HTTP2, keepalive=1, keepalive_timeout=timeout) as gateway,
        connection(gateway, gateway.client("dev")) as client,
    ):
        client.sendall(HTTP2_PREFACE)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while client.recv(1024):
                pass
        # Envoy adds up to 15 % to the interval.
        assert timeout + 1 < time.monotonic() - began < timeout + 2
