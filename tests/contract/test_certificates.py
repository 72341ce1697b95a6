"""Certificates: what is signed for whom, and that no key is ever shown."""

import base64
from typing import Any

import pytest
from pulumi_buildkit import Certificates, SecretLayout
from pulumi_buildkit.certificates import RESERVED_NAMES

from tests.recording import Recording, Resource, record

SERVER = ("certPem of team-server", "privateKeyPem of team-server-key")
FIRST_CLIENT = ("certPem of team-dev", "privateKeyPem of team-dev-key")
CA = "certPem of team-ca"
# By layout: the Secret's name and type, and what is in it.
SECRETS = {
    SecretLayout.DAEMON: (
        "team-daemon-certs",
        "Opaque",
        {"ca.pem": CA, "cert.pem": SERVER[0], "key.pem": SERVER[1]},
    ),
    SecretLayout.ENVOY: (
        "team-envoy-certs",
        "Opaque",
        {"ca.pem": CA, "server.pem": SERVER[0], "server-key.pem": SERVER[1]},
    ),
    SecretLayout.COMBINED: (
        "team-secrets",
        "Opaque",
        {
            "ca.crt": CA,
            "server.crt": SERVER[0],
            "server.key": SERVER[1],
            "client.crt": FIRST_CLIENT[0],
            "client.key": FIRST_CLIENT[1],
        },
    ),
    SecretLayout.TLS: (
        "team-tls",
        "kubernetes.io/tls",
        {"ca.crt": CA, "tls.crt": SERVER[0], "tls.key": SERVER[1]},
    ),
}


def make(**args: Any) -> Recording:
    sans = ["build.example.com", "10.0.0.1", "::1"]
    merged: Any = {"namespace": "build", "sans": sans, "clients": ["dev", "ci"], **args}
    return record(lambda: Certificates("team", merged))


@pytest.fixture(scope="module")
def made() -> Recording:
    return make()


def test_every_secret_is_secret_to_pulumi() -> None:
    for secret in make(server_secret_layouts=[*SecretLayout]).of("Secret"):
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
    bundle = made.outputs_of("Certificates").values["bundles"]["ci"]
    assert decoded(made.one("Secret", "team-ci-certs")) == {
        f"{key}.pem": pem for key, pem in bundle.items()
    }


def decoded(secret: Resource) -> dict[str, str]:
    return {key: base64.b64decode(pem).decode() for key, pem in secret.inputs["data"].items()}


@pytest.mark.parametrize("layout", SecretLayout)
def test_the_server_s_secret_has_the_name_type_and_keys_of_its_layout(layout: SecretLayout) -> None:
    name, kind, data = SECRETS[layout]
    made = make(server_secret_layouts=[layout])
    secret = made.one("Secret", name)
    assert secret.inputs["metadata"]["name"] == name
    assert (secret.inputs["type"], decoded(secret)) == (kind, data)
    assert made.outputs_of("Certificates").values["serverSecrets"] == {layout.value: name}


def test_the_server_s_secret_is_buildkitd_s_by_default(made: Recording) -> None:
    expected = {"daemon": "team-daemon-certs"}
    assert made.outputs_of("Certificates").values["serverSecrets"] == expected


def test_every_layout_can_be_had_at_once_and_none_twice() -> None:
    made = make(server_secret_layouts=[*SecretLayout, "tls"])
    names = {layout.value: name for layout, (name, *_) in SECRETS.items()}
    assert made.outputs_of("Certificates").values["serverSecrets"] == names


def test_further_layouts_and_clients_change_nothing_that_was_there() -> None:
    layouts = [SecretLayout.DAEMON, SecretLayout.COMBINED]
    one = make(clients=["dev"], server_secret_layouts=layouts)
    other = make(clients=["dev", "ci"], server_secret_layouts=[*reversed(SecretLayout)])
    later = {resource.urn: resource.inputs for resource in other.resources}
    assert len(later) > len(one.resources)
    assert {r.urn: r.inputs for r in one.resources}.items() <= later.items()


def test_a_server_can_do_without_clients() -> None:
    made = make(clients=[])
    outputs = made.outputs_of("Certificates").values
    assert outputs["clientSecrets"] == outputs["bundles"] == {}
    assert [secret.name for secret in made.of("Secret")] == ["team-daemon-certs"]


def test_clients_can_do_without_a_secret_of_the_server() -> None:
    made = make(server_secret_layouts=[])
    assert made.outputs_of("Certificates").values["serverSecrets"] == {}
    assert {secret.name for secret in made.of("Secret")} == {"team-dev-certs", "team-ci-certs"}


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
    assert leaf["earlyRenewalHours"] == 720


def test_lifetimes_are_as_given() -> None:
    lifetimes = {"validity_hours": 48, "early_renewal_hours": 12, "ca_validity_hours": 96}
    made = make(**lifetimes)
    for certificate in made.of("LocallySignedCert"):
        assert certificate.inputs["validityPeriodHours"] == 48
    assert made.one("SelfSignedCert").inputs["validityPeriodHours"] == 96
    assert {c.inputs["earlyRenewalHours"] for c in made.of("LocallySignedCert")} == {12}


def test_a_ca_is_renewed_before_it_could_end_earlier_than_what_it_signs() -> None:
    authority = make(validity_hours=48, early_renewal_hours=12).one("SelfSignedCert").inputs
    # A certificate that is made just before lasts 48 hours, and is renewed in their last 12.
    assert authority["earlyRenewalHours"] == 48 + 12


GENERATIONS = {"authorities": ["ca", "ca-2027"]}


def test_while_a_ca_changes_the_old_one_signs_the_server_s_and_the_new_one_the_clients() -> None:
    made = make(**GENERATIONS)
    signed = {c.name: c.inputs["caCertPem"] for c in made.of("LocallySignedCert")}
    assert signed == {
        "team-server": "certPem of team-ca",
        "team-dev": "certPem of team-ca-2027",
        "team-ci": "certPem of team-ca-2027",
    }


def test_while_a_ca_changes_everybody_trusts_both() -> None:
    made = make(**GENERATIONS)
    both = "certPem of team-cacertPem of team-ca-2027"
    assert decoded(made.one("Secret", "team-daemon-certs"))["ca.pem"] == both
    assert decoded(made.one("Secret", "team-ci-certs"))["ca.pem"] == both
    assert made.outputs_of("Certificates").values["caPem"] == both


def test_a_further_ca_leaves_the_first_one_and_all_keys_as_they_are() -> None:
    kept = ("PrivateKey", "SelfSignedCert")
    one, other = make(), make(**GENERATIONS)
    later = {resource.urn: resource.inputs for resource in other.resources}
    assert {r.urn: r.inputs for kind in kept for r in one.of(kind)}.items() <= later.items()


def test_cas_have_names_of_their_own() -> None:
    subjects = [ca.inputs["subject"] for ca in make(**GENERATIONS).of("SelfSignedCert")]
    assert subjects == [{"commonName": "team CA"}, {"commonName": "team CA-2027"}]


def test_a_client_s_secret_can_be_in_another_namespace() -> None:
    made = make(client_namespaces={"ci": "runners"})
    names = {s.name: s.inputs["metadata"]["namespace"] for s in made.of("Secret")}
    assert names == {
        "team-daemon-certs": "build",
        "team-dev-certs": "build",
        "team-ci-certs": "runners",
    }


def test_it_says_until_when_each_certificate_is_valid(made: Recording) -> None:
    assert made.outputs_of("Certificates").values["validUntil"] == {
        "ca": "validityEndTime of team-ca",
        "server": "validityEndTime of team-server",
        "dev": "validityEndTime of team-dev",
        "ci": "validityEndTime of team-ci",
    }


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ({"clients": ["dev", "ca"]}, "team: ca is the name of two: of a CA, a client, or a part"),
        ({"clients": ["daemon"]}, "team: daemon is the name of two"),
        ({"authorities": ["new", "new"]}, "team: new is the name of two"),
        ({"authorities": []}, "team: authorities: there are none; name at least one CA"),
        (
            {"ca_validity_hours": 9480},
            "team: ca_validity_hours: 9480 is no more than .* 9480; take",
        ),
        (
            {"clients": [], "server_secret_layouts": ["combined"]},
            "team: server_secret_layouts: combined holds the first client's certificate, and there "
            "are no clients; name one, or take another layout",
        ),
        (
            {"server_secret_layouts": ["nginx"]},
            "team: server_secret_layouts: nginx is none; take some of daemon, envoy, combined, tls",
        ),
        ({"validity_hours": 720}, "team: early_renewal_hours: 720 is not less than"),
    ],
)
def test_what_can_not_work_is_refused(args: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make(**args)


def test_the_names_of_a_run_never_collide() -> None:
    # Whatever is part of a name here, unless it is reserved.
    clients = ["dev", "request", "key", "certs", "client", "combined", "secrets", "tls"]

    def program() -> None:
        for name in ("one", "two"):
            args: Any = {"clients": clients, "server_secret_layouts": [*SecretLayout]}
            Certificates(name, args | {"namespace": "build", "sans": []})

    recording = record(program)
    names = [(r.inputs["metadata"]["name"]) for r in recording.of("Secret")]
    assert len(names) == len(set(names)) == 2 * (len(clients) + len(SecretLayout))


def test_no_name_is_reserved_without_need() -> None:
    assert sorted(RESERVED_NAMES) == ["daemon", "envoy", "server"]


def test_outputs_are_names_of_secrets_that_exist(made: Recording) -> None:
    outputs = made.outputs_of("Certificates").values
    names = {*outputs["serverSecrets"].values(), *outputs["clientSecrets"].values()}
    assert names == {secret.inputs["metadata"]["name"] for secret in made.of("Secret")}
