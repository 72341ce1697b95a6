"""A real Envoy with the gateway's files: who may do what, who is refused, and what the log says."""

import contextlib
import datetime
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from pulumi_buildkit import Protocol, Role
from pulumi_buildkit.certificates import client_uri
from pulumi_buildkit.role import RPCS

from lab.build import module_dir
from tests import http2
from tests.envoy_gateway import UPSTREAM, Authority, write_clients
from tests.running_gateway import (
    HTTP2_PREFACE,
    Gateway,
    buildkitd,
    client,
    connection,
    running,
    until,
)

CONTROL = "/moby.buildkit.v1.Control"
SOLVE, PRUNE = f"{CONTROL}/Solve", f"{CONTROL}/Prune"
HISTORY = f"{CONTROL}/UpdateBuildHistory"
DEV = client_uri("dev")
HOUR = datetime.timedelta(hours=1)

ADMIN_ONLY = {
    # Delete what others have built, and tell how much it is.
    f"{CONTROL}/Prune",
    f"{CONTROL}/DiskUsage",
}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that lets the builder `dev` in, and a buildkitd that answers everything."""
    with running(tmp_path, Protocol.HTTP2) as gateway, buildkitd(gateway):
        yield gateway


def ended(channel: grpc.Channel, rpc: str) -> Any:
    """A call of an RPC that has ended, well or not."""
    answer = channel.unary_unary(rpc).future(b"", timeout=20)
    answer.exception()
    return answer


def call(channel: grpc.Channel, rpc: str) -> grpc.StatusCode:
    return ended(channel, rpc).code()


def of_buildkit() -> set[str]:
    """The RPCs of the two services that BuildKit defines for its clients."""
    module = module_dir("buildkit", "github.com/moby/buildkit")
    found = set()
    for file in ("api/services/control/control.proto", "frontend/gateway/pb/gateway.proto"):
        text = (module / file).read_text()
        (package,) = re.findall(r"^package ([\w.]+);", text, re.MULTILINE)
        (service,) = re.findall(r"^service (\w+) ", text, re.MULTILINE)
        found |= {f"/{package}.{service}/{rpc}" for rpc in re.findall(r"\brpc (\w+)", text)}
    return found


def allowed(rpc: str) -> bool:
    return any(
        rpc == path or (path.endswith("/") and rpc.startswith(path)) for path in RPCS[Role.BUILDER]
    )


def test_of_each_rpc_that_buildkit_defines_somebody_has_said_who_may_call_it() -> None:
    assert {rpc for rpc in of_buildkit() if not allowed(rpc)} == ADMIN_ONLY


def test_a_builder_may_call_what_builds_need_and_nothing_else(gateway: Gateway) -> None:
    others = {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", f"{CONTROL}/Solve/x"}
    health = {f"/grpc.health.v1.Health/{rpc}" for rpc in ("Check", "Watch")}
    content = {f"/containerd.services.content.v1.Content/{rpc}" for rpc in ("Read", "Delete")}
    with client(gateway) as channel:
        answers = {rpc: call(channel, rpc) for rpc in of_buildkit() | others | content | health}
    refused = {rpc for rpc, code in answers.items() if code is grpc.StatusCode.PERMISSION_DENIED}
    # An empty request would unpin a record.
    further = {"/containerd.services.content.v1.Content/Delete", HISTORY}
    assert refused == ADMIN_ONLY | others | further
    assert {code for rpc, code in answers.items() if rpc not in refused} == {grpc.StatusCode.OK}


# UpdateBuildHistoryRequest's fields, as all clients encode them.
REF, FINALIZE = b"\x0a\x19" + b"8ak0cba1zv3w9fm50w0pn2x7c", b"\x20\x01"
PIN, DELETE = b"\x10\x01", b"\x18\x01"
LONG = b"\x0a\x7f" + 127 * b"x"
NO_FINALIZE = {
    "nothing": b"",
    "a record alone, which unpins it": REF,
    "finalize without a record": FINALIZE,
    "pin": REF + PIN,
    "delete": REF + DELETE,
    "finalize and pin": REF + PIN + FINALIZE,
    "finalize and delete": REF + DELETE + FINALIZE,
    "delete behind it": REF + FINALIZE + DELETE,
    "delete before the record": DELETE + REF + FINALIZE,
    "finalize twice": REF + FINALIZE + FINALIZE,
    "two records": REF + REF + FINALIZE,
    "a field that is not known": REF + FINALIZE + b"\x28\x01",
    "no finalize": REF + b"\x20\x00",
    "finalize in more bytes": REF + b"\x20\x81\x00",
    "another field that is finalize in fewer bits": REF + b"\xa0\x80\x80\x80\x10\x01",
    "delete where a record's length is two bytes": b"\x0a\x82\x00" + 2 * b"x" + DELETE + FINALIZE,
    "a record that is shorter than it says": b"\x0a\x7fx" + FINALIZE,
    "a record that is longer than it says": b"\x0a\x01" + DELETE + FINALIZE,
    "a record of 1 MiB": b"\x0a\x80\x80\x40" + 2**20 * b"x" + FINALIZE,
    "a record of 16 MiB": b"\x0a\xff\xff\xff\x07" + (2**24 - 1) * b"x" + FINALIZE,
}


def updated(channel: grpc.Channel, *messages: bytes, **options: Any) -> grpc.StatusCode:
    """How a call that updates the history ends."""
    answer = channel.stream_unary(HISTORY).future(iter(messages), timeout=20, **options)
    answer.exception()
    return answer.code()


@pytest.fixture
def received(tmp_path: Path) -> Iterator[tuple[Gateway, list[bytes]]]:
    """A gateway that lets the builder `dev` in, and what its buildkitd was asked."""
    requests: list[bytes] = []

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        requests.append(request)
        return b""

    with running(tmp_path, Protocol.HTTP2) as gateway, buildkitd(gateway, answer=answer):
        yield gateway, requests


def test_a_builder_may_finalize_a_record(received: tuple[Gateway, list[bytes]]) -> None:
    gateway, requests = received
    records = [REF + FINALIZE, b"\x0a\x01x" + FINALIZE, LONG + FINALIZE]
    with client(gateway) as channel:
        assert [updated(channel, one) for one in records] == 3 * [grpc.StatusCode.OK]
    assert requests == records


def test_a_builder_may_change_no_record_in_another_way(
    received: tuple[Gateway, list[bytes]],
) -> None:
    gateway, requests = received
    with client(gateway) as channel:
        codes = {case: updated(channel, body) for case, body in NO_FINALIZE.items()}
        codes["two messages"] = updated(channel, REF + FINALIZE, REF + DELETE)
        codes["no message"] = updated(channel)
    assert {case for case, code in codes.items() if code is grpc.StatusCode.OK} == set()
    assert requests == []


SIZE = len(REF + FINALIZE)
ODD_HEADERS = {
    "compressed": b"\1" + SIZE.to_bytes(4),
    "compressed in another way": b"\x80" + SIZE.to_bytes(4),
    "shorter": b"\0" + (SIZE - 1).to_bytes(4),
    "longer": b"\0" + (SIZE + 1).to_bytes(4),
    "much longer": b"\0\1" + SIZE.to_bytes(3),
    "part of one": b"\0",
}


@pytest.mark.parametrize("odd", ODD_HEADERS)
def test_a_builder_may_not_finalize_with_an_odd_message_header(
    received: tuple[Gateway, list[bytes]], odd: str
) -> None:
    gateway, requests = received
    body = ODD_HEADERS[odd] + REF + FINALIZE
    with connection(gateway, gateway.client("dev")) as dev:
        dev.sendall(HTTP2_PREFACE + http2.call(HISTORY, body))
        (line,) = lines(gateway, 1)
    assert (line["rpc"], line["outcome"]) == (HISTORY, "PermissionDenied")
    assert requests == []


def test_a_change_of_a_record_that_never_ends_takes_no_memory(gateway: Gateway) -> None:
    with connection(gateway, gateway.client("dev")) as dev:
        part = http2.frame(http2.DATA, 2**14 * b"x", stream=1)
        dev.sendall(HTTP2_PREFACE + http2.call(HISTORY) + 3 * part)
        refused = "^http.buildkit.downstream_rq_too_large$"
        until(
            lambda: set(gateway.statistics(refused).values()) == {1},
            what=lambda: f"{gateway.statistics('http.buildkit')}",
        )


def test_a_finalize_may_come_in_parts(received: tuple[Gateway, list[bytes]]) -> None:
    gateway, requests = received
    message = REF + FINALIZE
    *first, last = [bytes([one]) for one in b"\0" + SIZE.to_bytes(4) + message]
    with connection(gateway, gateway.client("dev")) as dev:
        parts = [http2.frame(http2.DATA, part, stream=1) for part in first]
        end = http2.frame(http2.DATA, last, http2.END_STREAM, stream=1)
        dev.sendall(HTTP2_PREFACE + http2.call(HISTORY) + b"".join(parts) + end)
        until(lambda: requests == [message], what=lambda: f"{requests}, {gateway.log()}")


def test_a_client_can_not_say_itself_that_it_finalizes(
    received: tuple[Gateway, list[bytes]],
) -> None:
    gateway, requests = received
    said = [(name, "true") for name in ("finalize", "x-finalize", "x-envoy-finalize")]
    with client(gateway) as channel:
        assert updated(channel, REF + DELETE, metadata=said) is grpc.StatusCode.PERMISSION_DENIED
    assert requests == []


def test_an_admin_may_change_every_record(received: tuple[Gateway, list[bytes]]) -> None:
    gateway, requests = received
    write_clients(gateway.root, ["dev"], Role.ADMIN)
    with client(gateway) as channel:
        until(
            lambda: call(channel, PRUNE) is grpc.StatusCode.OK,
            what=lambda: "dev has not become an admin",
        )
        requests.clear()
        changes = [REF + PIN, REF + DELETE, REF, REF + FINALIZE]
        assert [updated(channel, one) for one in changes] == 4 * [grpc.StatusCode.OK]
    assert requests == changes


def test_a_finalize_is_held_until_buildkitd_is_there(tmp_path: Path) -> None:
    with running(tmp_path, Protocol.HTTP2) as gateway, client(gateway) as channel:
        asked = channel.unary_unary(HISTORY).future(REF + FINALIZE, timeout=20)
        with pytest.raises(grpc.FutureTimeoutError):
            asked.result(timeout=2)
        with buildkitd(gateway):
            asked.result()


def test_an_admin_may_call_everything(gateway: Gateway) -> None:
    write_clients(gateway.root, ["dev"], Role.ADMIN)
    with client(gateway) as channel:
        until(
            lambda: call(channel, PRUNE) is grpc.StatusCode.OK,
            what=lambda: "dev has not become an admin",
        )
        assert {call(channel, rpc) for rpc in of_buildkit()} == {grpc.StatusCode.OK}


def test_who_is_refused_an_rpc_is_told_which_and_who_it_is(gateway: Gateway) -> None:
    with client(gateway) as channel:
        assert ended(channel, PRUNE).details() == (
            f"{DEV} may not call {PRUNE}: its role has no such right, or it is no client any more"
        )


def test_a_revoked_client_s_open_connection_is_of_no_use_any_more(gateway: Gateway) -> None:
    write_clients(gateway.root, ["dev", "ci"])
    with client(gateway) as dev, client(gateway, "ci") as ci:
        until(lambda: call(ci, SOLVE) is grpc.StatusCode.OK, what=lambda: "ci is not let in")
        assert call(dev, SOLVE) is grpc.StatusCode.OK
        write_clients(gateway.root, ["ci"])
        until(
            lambda: call(dev, SOLVE) is grpc.StatusCode.PERMISSION_DENIED,
            what=lambda: "dev still builds",
        )
        assert call(ci, SOLVE) is grpc.StatusCode.OK


def lines(gateway: Gateway, count: int) -> list[dict[str, Any]]:
    """The log, when it has as many lines; any more come with the last one."""
    until(lambda: len(gateway.log()) >= count, what=lambda: f"{gateway.log()}")
    return gateway.log()


def test_the_log_has_lines_for_a_build_its_session_and_a_refusal_and_none_for_questions(
    gateway: Gateway,
) -> None:
    with client(gateway) as channel:
        for rpc in (
            f"{CONTROL}/Info",
            f"{CONTROL}/Session",
            SOLVE,
            f"{CONTROL}/ListWorkers",
            PRUNE,
        ):
            call(channel, rpc)
    session, begins, build, refusal = lines(gateway, 4)
    assert begins == {key: build[key] for key in begins if key != "begins"} | {
        "begins": build["stream"]
    }
    assert [line["rpc"] for line in (session, build, refusal)] == [
        f"{CONTROL}/Session",
        SOLVE,
        PRUNE,
    ]
    assert {line["client"] for line in (session, build, refusal)} == {DEV}
    assert build["connection"] == session["connection"]
    assert build["pod"] == socket.gethostname()
    assert [build["outcome"], refusal["outcome"]] == ["OK", "PermissionDenied"]
    assert build["received"] > 0
    assert build["milliseconds"] >= 0


@pytest.mark.parametrize("rpc", [SOLVE, f"{CONTROL}/ListWorkers"])
def test_what_waits_until_its_hold_is_over_has_a_line_that_says_so(
    tmp_path: Path, rpc: str
) -> None:
    with running(tmp_path, Protocol.HTTP2, hold=2) as gateway, client(gateway) as channel:
        assert call(channel, rpc) is grpc.StatusCode.UNAVAILABLE
        *_, ended = lines(gateway, 2 if rpc == SOLVE else 1)
    assert ended["rpc"] == rpc
    assert ended["outcome"] == "Unavailable"
    assert ended["milliseconds"] >= 1500


def test_the_log_of_bytes_has_a_line_for_each_connection(tmp_path: Path) -> None:
    with running(tmp_path, Protocol.TCP) as gateway:
        with buildkitd(gateway), client(gateway) as channel:
            assert call(channel, SOLVE) is grpc.StatusCode.OK

        def passed() -> list[str]:
            return [line["client"] for line in gateway.log() if line.get("received", 0) > 0]

        until(lambda: passed() == [DEV], what=lambda: str(gateway.log()))


def connect(gateway: Gateway, said: bytes) -> bytes:
    """What the gateway answers to plain bytes."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(said)
        with contextlib.suppress(ConnectionError):
            return connection.recv(1024)
    return b""


def speak(
    gateway: Gateway,
    files: Path | None,
    *said: bytes,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
) -> None:
    """Say something behind a handshake, each after an answer; nothing of how it ends."""
    context = ssl.create_default_context(cafile=str(gateway.client("any") / "ca.pem"))
    # Clients of today offer no such version, unless they are told to.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    if files:
        context.load_cert_chain(files / "cert.pem", files / "key.pem")
    with (
        contextlib.suppress(ssl.SSLError, ConnectionError),
        socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=UPSTREAM) as connection,
    ):
        for one in said or (b"",):
            connection.sendall(one)
            connection.recv(1024)


def issued(gateway: Gateway, **lifetime: Any) -> Path:
    uri = x509.UniformResourceIdentifier(DEV)
    return gateway.edge.issue(gateway.root / "clients" / "odd", uri, **lifetime)


STRANGERS: dict[str, tuple[Callable[[Gateway], object], str]] = {
    "another CA's": (
        lambda gateway: speak(gateway, gateway.client("dev", Authority("edge"))),
        "CERTIFICATE_VERIFY_FAILED",
    ),
    "an expired certificate": (
        lambda gateway: speak(gateway, issued(gateway, begins=-2 * HOUR, ends=-HOUR)),
        "certificate_has_expired",
    ),
    "one that is not valid yet": (
        lambda gateway: speak(gateway, issued(gateway, begins=HOUR, ends=2 * HOUR)),
        "certificate_is_not_yet_valid",
    ),
    "no certificate": (
        lambda gateway: speak(gateway, None),
        "PEER_DID_NOT_RETURN_A_CERTIFICATE",
    ),
    "a server's certificate": (
        lambda gateway: speak(
            gateway, gateway.edge.server(gateway.root / "clients" / "server", client=False)
        ),
        "unsupported_certificate_purpose|unsuitable_certificate_purpose",
    ),
    "a client who is not listed": (
        lambda gateway: speak(gateway, gateway.client("gone")),
        "SAN_matcher.*spiffe://buildkit/client/gone",
    ),
    "plaintext HTTP/2": (
        lambda gateway: connect(gateway, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        "WRONG_VERSION_NUMBER|HTTP_REQUEST",
    ),
    "plaintext HTTP/1.1": (
        lambda gateway: connect(gateway, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        "HTTP_REQUEST",
    ),
    "TLS 1.1": (
        lambda gateway: speak(gateway, gateway.client("dev"), version=ssl.TLSVersion.TLSv1_1),
        "UNSUPPORTED_PROTOCOL|INTERNAL_ERROR",
    ),
    "HTTP/1.1 from a client": (
        lambda gateway: speak(gateway, gateway.client("dev"), b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        "DPE",
    ),
    "garbage": (
        lambda gateway: connect(gateway, bytes(range(256))),
        "WRONG_VERSION_NUMBER|TLS_error",
    ),
    "garbage from a client": (
        lambda gateway: speak(gateway, gateway.client("dev"), bytes(range(256))),
        "DPE",
    ),
    "a handshake that never ends": (
        lambda gateway: connect(gateway, b"\x16\x03\x01"),
        "transport socket timeout was reached",
    ),
}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_is_refused_with_one_line_and_never_reaches_buildkitd(
    gateway: Gateway, stranger: str
) -> None:
    come, reason = STRANGERS[stranger]
    come(gateway)
    (line,) = lines(gateway, 1)
    assert line["outcome"] == "refused"
    assert re.search(reason, line["reason"]), line["reason"]
    assert line["address"] == "127.0.0.1"
    connects = gateway.statistics("^cluster.(address|buildkitd).upstream_cx_total$")
    assert set(connects.values()) == {0}


def test_a_load_balancer_s_probe_is_no_refusal(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)):
        pass
    connect(gateway, b"garbage")
    assert len(lines(gateway, 1)) == 1


def test_a_client_that_ends_out_of_turn_is_no_refusal(gateway: Gateway) -> None:
    reset_of_a_stream_that_never_was = bytes([0, 0, 4, 3, 0, 0, 0, 0, 9, 0, 0, 0, 8])
    speak(gateway, gateway.client("dev"), HTTP2_PREFACE, reset_of_a_stream_that_never_was)
    errors = "^http.buildkit.downstream_cx_protocol_error$"
    until(
        lambda: set(gateway.statistics(errors).values()) == {1},
        what=lambda: "the error is not seen",
    )
    connect(gateway, b"garbage")
    (line,) = lines(gateway, 1)
    assert line["client"] is None


def test_a_thousand_handshakes_that_never_end_keep_nobody_from_building(gateway: Gateway) -> None:
    with contextlib.ExitStack() as connections:
        for _ in range(1000):
            connection = socket.create_connection(("127.0.0.1", gateway.port))
            connections.enter_context(connection)
            connection.sendall(b"\x16\x03\x01")
        with client(gateway) as channel:
            assert call(channel, SOLVE) is grpc.StatusCode.OK
        timeouts = "^listener.clients.downstream_cx_transport_socket_connect_timeout$"
        until(
            lambda: set(gateway.statistics(timeouts).values()) == {1000},
            what=lambda: str(gateway.statistics(timeouts)),
        )


def test_by_the_proxy_protocol_the_log_has_the_client_s_own_address(tmp_path: Path) -> None:
    with running(tmp_path, Protocol.HTTP2, proxy_protocol=True) as gateway:
        connect(gateway, b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 1234\r\nGET / HTTP/1.1\r\n\r\n")
        (line,) = lines(gateway, 1)
        assert line["address"] == "192.0.2.7"


def test_with_the_proxy_protocol_who_does_not_speak_it_is_refused(tmp_path: Path) -> None:
    with running(tmp_path, Protocol.HTTP2, proxy_protocol=True) as gateway:
        context = ssl.create_default_context(cafile=str(gateway.client("dev") / "ca.pem"))
        with (
            socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as plain,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            context.wrap_socket(plain, server_hostname=UPSTREAM)


def test_a_health_check_is_not_held(tmp_path: Path) -> None:
    with running(tmp_path, Protocol.HTTP2) as gateway, client(gateway) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check").future(b"", timeout=20)
        with pytest.raises(grpc.RpcError):
            check.result(timeout=3)
        assert check.code() is grpc.StatusCode.UNAVAILABLE
