"""Certificates, clients and CAs change beneath builds that run: nothing is dropped."""

import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from cryptography import x509

from lab import LabError
from lab.engine import merge
from lab.node import until
from tests.lab.building import BEGUN, CLIENTS, build, is_let_go, waits
from tests.lab.conftest import Configured, Installation, Record, install
from tests.lab.gateway_pods import REACHED_WITHIN, look_at_files


@pytest.fixture(scope="module", autouse=True)
def new_files(installation: Installation) -> Iterator[None]:
    """Who has the stack's first files gets new ones in the end, since their CA has gone."""
    yield
    installation.outputs = installation.lab.stack().outputs()
    install(installation.lab, installation.outputs, installation.directory)


def shown(installation: Installation) -> x509.Certificate:
    """The certificate that the gateway shows."""
    host, port = installation.outputs["endpoint"].split(":")
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((host, int(port))).encode())


def bundle(installation: Installation, name: str, of: str) -> Installation:
    """What the client *of* gets from the stack now, in a directory called *name*."""
    return install(installation.lab, installation.outputs, installation.directory / name, of)


def test_builds_go_on_while_their_certificates_are_renewed_and_the_ca_is_changed(
    configured: Configured, full: bool, record_property: Record
) -> None:
    keys: dict[str, Any] = {"buildkit:gateway": {"replicas": 1}, "buildkit:clients": {"ci": {}}}
    installation = configured(keys)
    pods = [*installation.pods("buildkit-gateway"), *installation.pods("buildkitd")]
    first = shown(installation)

    def change(**certificates: Any) -> Installation:
        changed = configured(merge(keys, {"buildkit:certificates": certificates}))
        if not full:
            look_at_files(changed)
        return changed

    def until_it_shows(another: x509.Certificate, than: str) -> x509.Certificate:
        since = time.monotonic()
        until(
            lambda: shown(installation) != another,
            REACHED_WITHIN,
            lambda: LabError("the gateway shows its old certificate"),
        )
        record_property(
            f"seconds until it shows another than {than}", round(time.monotonic() - since)
        )
        return shown(installation)

    with ExitStack() as stack:
        running = [stack.enter_context(build(installation, by, waits())) for by in CLIENTS]
        for one in running:
            one.wait_for(BEGUN)

        # All are renewed, of the server and of each client.
        before = bundle(installation, "before", "ci")
        renewed = change(validityHours=9000)
        second = until_it_shows(first, "the first")
        assert second.issuer == first.issuer
        assert (
            renewed.outputs["valid_until"]["server"] > installation.outputs["valid_until"]["server"]
        )
        assert before.is_let_in()
        assert bundle(renewed, "renewed", "ci").is_let_in()

        # A further CA: clients get new files when it suits them, and old ones do as well.
        both = bundle(change(validityHours=9000, authorities=["ca", "ca-2027"]), "both", "ci")
        until(both.is_let_in, REACHED_WITHIN, lambda: LabError("the new CA is not trusted"))
        assert before.is_let_in()
        assert shown(installation).issuer == first.issuer

        # The old CA goes: who has new files notices nothing.
        after = change(validityHours=9000, authorities=["ca-2027"])
        third = until_it_shows(second, "the renewed")
        assert third.issuer != first.issuer
        assert both.is_let_in()
        assert bundle(after, "after", "ci").is_let_in()
        until(
            lambda: not before.is_let_in(),
            REACHED_WITHIN,
            lambda: LabError("the old CA's clients are let in"),
        )

        is_let_go(installation)
        for one in running:
            assert one.result("greeting") == b"let go\n"
    assert [*installation.pods("buildkit-gateway"), *installation.pods("buildkitd")] == pods
    # The next test's clients know the first CA only, which is made anew.
    last = bundle(change(), "last", "ci")
    look_at_files(last)
    until(last.is_let_in, REACHED_WITHIN, lambda: LabError("the gateway has not come back"))


def test_certificates_are_made_anew_when_that_is_asked_for(configured: Configured) -> None:
    before = configured({})
    stack = before.lab.stack()
    stack.up("--replace=**LocallySignedCert::**")
    after = install(before.lab, stack.outputs(), before.directory / "after")
    of_dev = [one.outputs["clients"]["dev"] for one in (before, after)]
    assert of_dev[0]["cert"] != of_dev[1]["cert"]
    assert of_dev[0]["ca"] == of_dev[1]["ca"]
    assert after.is_let_in()
