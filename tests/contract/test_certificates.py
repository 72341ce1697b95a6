"""Certificates: what is signed for whom, and that no key is ever shown."""

import base64
from typing import Any

import pytest
from pulumi_buildkit import Certificates, ServerSecretLayout

from tests.recording import Recording, record

KEYS = {
    ServerSecretLayout.DAEMON: ["ca.pem", "cert.pem", "key.pem"],
    ServerSecretLayout.ENVOY: ["ca.pem", "server-key.pem", "server.pem"],
}


def make(**args: Any) -> Recording:
    sans = ["build.example.com", "10.0.0.1", "::1"]
    merged: Any = {"namespace": "build", "sans": sans, "clients": ["dev", "ci"], **args}
    return record(lambda: Certificates("team", merged))


@pytest.fixture(scope="module")
def made() -> Recording:
    return make()


def test_every_secret_is_secret_to_pulumi(made: Recording) -> None:
    for secret in made.of("Secret"):
        assert secret.secrets == {"data"}


def test_every_private_key_is_secret_wherever_it_is_used(made: Recording) -> None:
    shown = [
        (resource.name, key)
        for resource in made.resources
        for key in resource.inputs
        if key.endswith("rivateKeyPem") and key not in resource.secrets
    ]
    assert not shown


def test_the_bundles_are_secret_outputs(made: Recording) -> None:
    assert made.outputs_of("Certificates").secrets == {"bundles"}


def test_a_bundle_holds_the_ca_and_the_certificate_and_key_of_its_client(made: Recording) -> None:
    assert made.outputs_of("Certificates").values["bundles"]["ci"] == {
        "ca": "certPem of team-ca",
        "cert": "certPem of team-ci",
        "key": "privateKeyPem of team-ci-key",
    }


def test_a_client_s_secret_holds_its_bundle(made: Recording) -> None:
    data = made.one("Secret", "team-ci-certs").inputs["data"]
    bundle = made.outputs_of("Certificates").values["bundles"]["ci"]
    assert {key: base64.b64decode(value).decode() for key, value in data.items()} == {
        f"{key}.pem": pem for key, pem in bundle.items()
    }


@pytest.mark.parametrize("layout", ServerSecretLayout)
def test_the_server_s_secret_has_the_keys_that_its_server_mounts(
    layout: ServerSecretLayout,
) -> None:
    secret = make(server_secret_layout=layout).one("Secret", f"team-{layout.value}-certs")
    assert sorted(secret.inputs["data"]) == KEYS[layout]


def test_names_and_addresses_become_sans_of_their_kind(made: Recording) -> None:
    request = made.one("CertRequest", "team-server-request").inputs
    assert request["dnsNames"] == ["build.example.com"]
    assert request["ipAddresses"] == ["10.0.0.1", "::1"]


def test_a_name_that_is_given_twice_is_one_san() -> None:
    request = make(sans=["a", "10.0.0.1", "a", "10.0.0.1"]).one(
        "CertRequest", "team-server-request"
    )
    assert request.inputs["dnsNames"] == ["a"]
    assert request.inputs["ipAddresses"] == ["10.0.0.1"]


def test_a_client_is_known_by_a_uri_of_its_own(made: Recording) -> None:
    request = made.one("CertRequest", "team-ci-request").inputs
    assert request["uris"] == ["spiffe://buildkit/client/ci"]


def test_every_key_is_on_a_curve_that_go_s_tls_takes(made: Recording) -> None:
    keys = [(k.inputs["algorithm"], k.inputs["ecdsaCurve"]) for k in made.of("PrivateKey")]
    assert keys == [("ECDSA", "P256")] * 4


@pytest.mark.parametrize(
    ("name", "use"), [("team-server", "server_auth"), ("team-dev", "client_auth")]
)
def test_a_certificate_is_for_one_side_only(made: Recording, name: str, use: str) -> None:
    uses = made.one("LocallySignedCert", name).inputs["allowedUses"]
    assert uses == ["digital_signature", use]


def test_lifetimes_are_a_year_and_ten_for_the_ca_by_default(made: Recording) -> None:
    leaf, ca = made.one("LocallySignedCert", "team-dev").inputs, made.one("SelfSignedCert").inputs
    assert (leaf["validityPeriodHours"], ca["validityPeriodHours"]) == (8760, 87_600)
    assert leaf["earlyRenewalHours"] == ca["earlyRenewalHours"] == 720


def test_lifetimes_are_as_given() -> None:
    lifetimes = {"validity_hours": 48, "early_renewal_hours": 12, "ca_validity_hours": 96}
    made = make(**lifetimes)
    for certificate in made.of("LocallySignedCert"):
        assert certificate.inputs["validityPeriodHours"] == 48
    assert made.one("SelfSignedCert").inputs["validityPeriodHours"] == 96
    certificates = [*made.of("LocallySignedCert"), made.one("SelfSignedCert")]
    assert {certificate.inputs["earlyRenewalHours"] for certificate in certificates} == {12}


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ({"clients": ["dev", "ca"]}, "team: clients: ca is a name of its own CA's or server's"),
        ({"clients": ["daemon"]}, "team: clients: daemon is a name of its own CA's or server's"),
        ({"validity_hours": 720}, "team: early_renewal_hours: 720 is not less than"),
    ],
)
def test_what_can_not_work_is_refused(args: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make(**args)


def test_the_names_of_a_run_never_collide() -> None:
    def program() -> None:
        for name in ("one", "two"):
            clients = ["dev", "request", "key", "certs", "client"]
            Certificates(name, {"namespace": "build", "sans": [], "clients": clients})

    recording = record(program)
    names = [(r.inputs["metadata"]["name"]) for r in recording.of("Secret")]
    assert len(names) == len(set(names)) == 12


def test_outputs_are_names_of_secrets_that_exist(made: Recording) -> None:
    outputs = made.outputs_of("Certificates").values
    names = {outputs["serverSecret"], *outputs["clientSecrets"].values()}
    assert names == {secret.inputs["metadata"]["name"] for secret in made.of("Secret")}
