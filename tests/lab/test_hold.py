"""A build that is submitted while no buildkitd is ready waits, as long as `gateway.hold` says."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from lab import LabError
from lab.node import until
from tests.lab.absence import no_buildkitd, nothing_answers_at
from tests.lab.building import (
    BUILDCTL,
    BUILDX,
    CLIENTS,
    Build,
    build,
    build_definition,
    create_builder,
    greets,
)
from tests.lab.conftest import Configured, Installation, Record, configuring
from tests.lab.gateway_pods import active

MIB = 1 << 20
Unreachable = Callable[[Installation], AbstractContextManager[None]]


@contextmanager
def no_pod(installation: Installation) -> Iterator[None]:
    """Connects are refused while this lasts."""
    create_builder(installation)
    with no_buildkitd(installation):
        yield


@contextmanager
def nothing_answers(installation: Installation) -> Iterator[None]:
    """Packets to buildkitd's Service are lost while this lasts."""
    create_builder(installation)
    address = installation.kubectl(
        "get", "service/buildkitd", "--output=jsonpath={.spec.clusterIP}"
    )
    with nothing_answers_at(installation, address):
        yield


def definition(size: int) -> bytes:
    """An LLB definition of one file of so many bytes, /large, which it carries within it."""
    nothing = (1 << 64) - 1  # -1
    large = field(1, b"/large") + field(2, 0o644) + field(3, bytes(size)) + field(5, nothing)
    action = field(1, nothing) + field(2, nothing) + field(4 + 1, large)
    operation = field(4, field(2, action))
    digest = f"sha256:{hashlib.sha256(operation).hexdigest()}".encode()
    return field(1, operation) + field(1, field(1, field(1, digest)))


def field(number: int, value: int | bytes) -> bytes:
    """A field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    more, septet = divmod(value, 128)
    return bytes([septet | 128]) + varint(more) if more else bytes([septet])


@pytest.fixture(scope="module")
def changed(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Configured]:
    """The dev stack, which goes from one configuration to the next."""
    yield from configuring(installation.lab, tmp_path_factory.mktemp("hold"))


def submitted(stack: ExitStack, installation: Installation) -> dict[str, Build]:
    """A build by each client."""
    return {by: stack.enter_context(build(installation, by, greets("held"))) for by in CLIENTS}


def assert_held(installation: Installation, seconds: float) -> None:
    """Builds that are submitted before there is a buildkitd wait for it and succeed."""
    with ExitStack() as stack:
        with no_pod(installation):
            builds = submitted(stack, installation).values()
            over = time.monotonic() + seconds
            for one in builds:
                assert one.goes_on(over), one.last
        assert all(one.result("greeting") == b"held\n" for one in builds)


def test_builds_wait_and_succeed(installation: Installation, full: bool) -> None:
    for seconds in (5, 60, 590) if full else (5,):
        assert_held(installation, seconds)


def test_a_build_with_a_definition_of_8_mib_waits_and_succeeds(installation: Installation) -> None:
    with ExitStack() as stack:
        with no_pod(installation):
            large = stack.enter_context(build_definition(installation, definition(8 * MIB)))
            assert large.goes_on(time.monotonic() + 5), large.last
        assert large.result("large") == bytes(8 * MIB)


@pytest.mark.parametrize("by", CLIENTS)
def test_ctrl_c_ends_a_held_build_at_once_and_nothing_is_left(
    installation: Installation, by: str
) -> None:
    with no_pod(installation), build(installation, by, greets("never")) as held:
        assert held.goes_on(time.monotonic() + 2), held.last
        assert active(installation)
        held.interrupt()
        held.fails("[Cc]anceled", within=2)
        until(lambda: not active(installation), 5, lambda: LabError(str(active(installation))))


# Only buildctl lets Envoy's reason through. docker buildx swallows it, and asks for 20 s more
# whether the server is there.
PATIENCE = {BUILDCTL: 0, BUILDX: 20}
REASON = {BUILDCTL: "no buildkitd was ready", BUILDX: "context deadline exceeded"}


@pytest.mark.parametrize("unreachable", [no_pod, nothing_answers])
def test_past_the_hold_builds_fail(
    changed: Configured, full: bool, record_property: Record, unreachable: Unreachable
) -> None:
    hold = 600 if full else 6
    installation = changed({"buildkit:gateway": {"hold": hold}})
    with ExitStack() as stack:
        stack.enter_context(unreachable(installation))
        for by, one in submitted(stack, installation).items():
            seconds = one.fails(REASON[by], hold + PATIENCE[by] + 60)
            record_property(f"seconds until {by} fails", round(seconds, 1))
            # They take a second to begin, and one to send traces that nobody takes.
            assert 0.9 * hold < seconds - PATIENCE[by] < 1.1 * hold + 2


def test_over_tcp_builds_wait_as_long_as_their_clients(
    changed: Configured, full: bool, record_property: Record
) -> None:
    installation = changed({"buildkit:gateway": {"protocol": "tcp"}})
    assert_held(installation, 5)
    if full:
        with ExitStack() as stack:
            stack.enter_context(no_pod(installation))
            for by, one in submitted(stack, installation).items():
                seconds = one.fails("server preface|context deadline exceeded", 60)
                record_property(f"seconds until {by} fails", round(seconds, 1))
