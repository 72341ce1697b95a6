"""The lab's own servers for the plugins tls and random, over gRPC as Pulumi's engine uses them."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc
from pulumi.runtime.rpc import UNKNOWN

from lab.providers import install
from lab.providers.computed import plain, wrapped

KEY, REQUEST = "tls:index/privateKey:PrivateKey", "tls:index/certRequest:CertRequest"
SELF_SIGNED = "tls:index/selfSignedCert:SelfSignedCert"
LOCALLY_SIGNED = "tls:index/locallySignedCert:LocallySignedCert"
STRING, PASSWORD = (
    "random:index/randomString:RandomString",
    "random:index/randomPassword:RandomPassword",
)
ID = "random:index/randomId:RandomId"

State = Mapping[str, PropertyValue]


def marshal(values: Mapping[str, Any]) -> Any:
    """The message for plain values and for the SDK's."""
    return PropertyValue.marshal_map(
        {
            name: value if isinstance(value, PropertyValue) else wrapped({"": value})[""]
            for name, value in values.items()
        }
    )


def urn(token: str) -> str:
    return f"urn:pulumi:dev::buildkit::a:b:Parent${token}::name::of::it"


class Plugin:
    """A running plugin."""

    def __init__(self, package: str, port: int) -> None:
        self.package = package
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub = provider_pb2_grpc.ResourceProviderStub(self.channel)

    def check(self, token: str, **inputs: Any) -> Any:
        return self.stub.Check(provider_pb2.CheckRequest(urn=urn(token), news=marshal(inputs)))

    def create(self, token: str, preview: bool = False, **inputs: Any) -> tuple[str, State]:
        """Check and create a resource."""
        checked = self.check(token, **inputs)
        assert not checked.failures
        request = provider_pb2.CreateRequest(
            urn=urn(token), properties=checked.inputs, preview=preview
        )
        created = self.stub.Create(request)
        return created.id, PropertyValue.unmarshal_map(created.properties)

    def make(self, token: str, **inputs: Any) -> State:
        return self.create(token, **inputs)[1]

    def diff(self, token: str, state: State, olds: Any, news: Any) -> tuple[set[str], list[str]]:
        """The changed properties and those that replace the resource."""
        answer = self.stub.Diff(
            provider_pb2.DiffRequest(
                urn=urn(token),
                olds=marshal(state),
                old_inputs=marshal(olds),
                news=marshal(news),
            )
        )
        some = answer.changes == provider_pb2.DiffResponse.DIFF_SOME
        assert answer.hasDetailedDiff and some == bool(answer.detailedDiff)
        replacing = {
            name
            for name, change in answer.detailedDiff.items()
            if change.kind == provider_pb2.PropertyDiff.UPDATE_REPLACE
        }
        assert replacing == set(answer.replaces)
        return set(answer.detailedDiff), list(answer.replaces)

    def read(self, token: str, id_: str, state: State, inputs: Any) -> Any:
        return self.stub.Read(
            provider_pb2.ReadRequest(
                urn=urn(token), id=id_, properties=marshal(state), inputs=marshal(inputs)
            )
        )


@contextmanager
def started(package: str, directory: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A plugin's process and port."""
    install(directory, package, sys.executable)
    command = [directory / f"pulumi-resource-{package}", "127.0.0.1:1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture(scope="module", params=["tls", "random"])
def plugin(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Plugin]:
    with started(request.param, tmp_path_factory.mktemp("plugin")) as (_, port):
        plugin = Plugin(request.param, port)
        yield plugin
        plugin.channel.close()


of_tls = pytest.mark.parametrize("plugin", ["tls"], indirect=True)
of_random = pytest.mark.parametrize("plugin", ["random"], indirect=True)


# Keys and certificates


def chain(tls: Plugin, algorithm: str, curve: str = "P256", **more: Any) -> tuple[State, ...]:
    """A key, a CA certificate and a certificate for the key."""
    key, ca_key = (tls.make(KEY, algorithm=algorithm, ecdsaCurve=curve) for _ in range(2))
    ca = tls.make(
        SELF_SIGNED,
        privateKeyPem=ca_key["privateKeyPem"],
        subject={"commonName": "ca", "organization": "o"},
        isCaCertificate=True,
        validityPeriodHours=24,
        allowedUses=["cert_signing"],
        setAuthorityKeyId=True,
    )
    request = tls.make(
        REQUEST,
        privateKeyPem=key["privateKeyPem"],
        subject={"commonName": "server"},
        dnsNames=["a.example", "*.b.example"],
        ipAddresses=["10.0.0.1"],
        uris=["spiffe://a/b"],
    )
    leaf = tls.make(
        LOCALLY_SIGNED,
        certRequestPem=request["certRequestPem"],
        caPrivateKeyPem=ca_key["privateKeyPem"],
        caCertPem=ca["certPem"],
        validityPeriodHours=12,
        allowedUses=["server_auth", "digital_signature"],
        **more,
    )
    return key, ca, leaf


def openssl(*args: str) -> str:
    return subprocess.run(["openssl", *args], check=True, capture_output=True, text=True).stdout


@of_tls
@pytest.mark.parametrize(
    ("algorithm", "curve"),
    [
        ("ECDSA", "P224"),
        ("ECDSA", "P256"),
        ("ECDSA", "P384"),
        ("ECDSA", "P521"),
        ("ED25519", "P256"),
    ],
)
def test_openssl_accepts_the_certificates(
    tmp_path: Path, plugin: Plugin, algorithm: str, curve: str
) -> None:
    key, ca, leaf = map(plain, chain(plugin, algorithm, curve))
    for name, pem in (("ca", ca["certPem"]), ("leaf", leaf["certPem"])):
        (tmp_path / name).write_text(pem)
    for form in ("privateKeyPem", "privateKeyPemPkcs8"):
        (tmp_path / "key").write_text(key[form])
        public = openssl("pkey", "-in", str(tmp_path / "key"), "-pubout")
        assert public == key["publicKeyPem"]
    strict = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(tmp_path / "ca")]
    openssl(*strict, "-verify_hostname", "x.b.example", str(tmp_path / "leaf"))
    openssl(*strict, "-verify_ip", "10.0.0.1", str(tmp_path / "leaf"))


@of_tls
def test_private_keys_are_secret(plugin: Plugin) -> None:
    key, ca, leaf = chain(plugin, "ECDSA")
    secrets = [
        *(key[name] for name in ("privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh")),
        ca["privateKeyPem"],
        leaf["caPrivateKeyPem"],
    ]
    assert all(value.is_secret for value in secrets)
    assert not any(value.is_secret for value in (key["publicKeyPem"], leaf["certPem"]))
    assert (plain(ca)["keyAlgorithm"], plain(leaf)["caKeyAlgorithm"]) == ("ECDSA", "ECDSA")
    checked = plugin.check(REQUEST, privateKeyPem=plain(key)["privateKeyPem"])
    assert PropertyValue.unmarshal_map(checked.inputs)["privateKeyPem"].is_secret


@of_tls
def test_inputs_without_a_value_are_dropped(plugin: Plugin) -> None:
    subject = {"commonName": "a", "country": None}
    checked = plugin.check(REQUEST, privateKeyPem=UNKNOWN, subject=subject, uris=None)
    inputs = plain(PropertyValue.unmarshal_map(checked.inputs))
    assert inputs == {"privateKeyPem": UNKNOWN, "subject": {"commonName": "a"}}


@of_tls
def test_early_renewal_replaces_a_certificate(plugin: Plugin) -> None:
    _, _, fresh = chain(plugin, "ECDSA", earlyRenewalHours=1)
    inputs = {name: fresh[name] for name in ("certRequestPem", "caPrivateKeyPem", "caCertPem")}
    inputs |= {"validityPeriodHours": 12, "allowedUses": ["server_auth", "digital_signature"]}
    before = {**inputs, "earlyRenewalHours": 1}
    assert plugin.diff(LOCALLY_SIGNED, fresh, before, before) == (set(), [])
    end = datetime.now(UTC) + timedelta(minutes=59)
    old = {**fresh, "validityEndTime": PropertyValue(end.isoformat())}
    due = plugin.diff(LOCALLY_SIGNED, old, before, before)
    assert due == ({"readyForRenewal"}, ["readyForRenewal"])
    read = plugin.read(LOCALLY_SIGNED, "1", old, before)
    assert read.id == "1" and read.properties["readyForRenewal"] is True
    unknown = {**before, "caCertPem": UNKNOWN}
    assert plugin.diff(LOCALLY_SIGNED, old, before, unknown) == ({"caCertPem"}, ["caCertPem"])


@of_tls
def test_a_longer_early_renewal_is_an_update_in_place(plugin: Plugin) -> None:
    _, _, fresh = chain(plugin, "ECDSA", earlyRenewalHours=1)
    news = {"validityPeriodHours": 12, "earlyRenewalHours": 2}
    olds = {**news, "earlyRenewalHours": 1}
    assert plugin.diff(LOCALLY_SIGNED, fresh, olds, news) == ({"earlyRenewalHours"}, [])
    request = provider_pb2.UpdateRequest(
        urn=urn(LOCALLY_SIGNED), olds=marshal(fresh), news=marshal(news)
    )
    updated = PropertyValue.unmarshal_map(plugin.stub.Update(request).properties)
    assert updated == {**fresh, "earlyRenewalHours": PropertyValue(2.0)}


@of_tls
def test_a_certificate_has_its_validity_as_outputs(plugin: Plugin) -> None:
    ca = plain(chain(plugin, "ECDSA")[1])
    certificate = x509.load_pem_x509_certificate(ca["certPem"].encode())
    assert datetime.fromisoformat(ca["validityStartTime"]) == certificate.not_valid_before_utc
    assert datetime.fromisoformat(ca["validityEndTime"]) == certificate.not_valid_after_utc


@of_tls
def test_outputs_are_unknown_in_a_preview(plugin: Plugin) -> None:
    id_, state = plugin.create(KEY, preview=True, algorithm="ECDSA")
    values = plain(state)
    assert not id_ and values["privateKeyPem"] == UNKNOWN
    assert (values["algorithm"], values["ecdsaCurve"]) == ("ECDSA", "P224")
    inputs = PropertyValue.unmarshal_map(plugin.check(REQUEST, privateKeyPem=UNKNOWN).inputs)
    assert inputs == {"privateKeyPem": PropertyValue(UNKNOWN)}


# Random values


@of_random
def test_random_values_follow_their_inputs(plugin: Plugin) -> None:
    only = {"special": False, "upper": False, "lower": False}
    assert plain(plugin.make(STRING, length=9, **only))["result"].isdigit()
    minimums = {"minUpper": 2, "minSpecial": 2, "overrideSpecial": "_"}
    result = plain(plugin.make(STRING, length=4, **minimums))["result"]
    assert sum(c.isupper() for c in result) == 2 and result.count("_") == 2
    id_, password = plugin.create(PASSWORD, length=20)
    assert id_ == "none" and password["result"].is_secret
    identity = plain(plugin.make(ID, byteLength=4, prefix="p-"))
    assert identity["hex"].startswith("p-") and len(identity["hex"]) == 2 + 8


@of_random
def test_a_stack_of_the_official_plugin_has_no_changes(plugin: Plugin) -> None:
    # https://github.com/pulumi/pulumi-random/blob/v4.16.3/provider/testdata/recorded/TestProviderUpgrade/index_randomstring/4.16.0/stack.json
    inputs = {"length": 16, "lower": True, "number": True, "special": False, "upper": True}
    minimums = dict.fromkeys(("minLower", "minNumeric", "minSpecial", "minUpper"), 0)
    meta = {"__meta": '{"schema_version":"2"}', "id": "z23C8WVlfAmX09Bv"}
    state = wrapped({**inputs, **minimums, **meta, "numeric": True, "result": meta["id"]})
    assert plugin.diff(STRING, state, inputs, inputs) == (set(), [])
    unset = {name: value for name, value in inputs.items() if name != "number"}
    assert plugin.diff(STRING, state, inputs, unset) == ({"number"}, ["number"])
    read = plugin.read(STRING, meta["id"], state, inputs)
    assert PropertyValue.unmarshal_map(read.properties) == state
    assert read.inputs == marshal(inputs)


# The protocol


@pytest.mark.parametrize(
    ("plugin", "token", "inputs", "property_"),
    [
        ("tls", KEY, {"algorithm": "DSA"}, "algorithm"),
        ("tls", KEY, {"algorithm": "ECDSA", "ecdsaCurve": "P1"}, "ecdsaCurve"),
        ("tls", REQUEST, {}, "privateKeyPem"),
        ("tls", "tls:index/other:Other", {}, ""),
        ("random", STRING, {"length": 0}, "length"),
        ("random", ID, {"byteLength": 0}, "byteLength"),
    ],
    indirect=["plugin"],
)
def test_a_check_names_the_invalid_input(
    plugin: Plugin, token: str, inputs: Any, property_: str
) -> None:
    [failure] = plugin.check(token, **inputs).failures
    assert failure.property == property_ and failure.reason.startswith(property_)


@of_tls
def test_an_unreadable_key_is_an_error_in_one_line(plugin: Plugin) -> None:
    with pytest.raises(grpc.RpcError) as error:
        plugin.make(REQUEST, privateKeyPem="no")
    failed: Any = error.value
    assert failed.details().startswith("privateKeyPem can't be read as PEM")
    assert "\n" not in failed.details()


def test_imports_are_refused_and_deletes_succeed(plugin: Plugin) -> None:
    token = {"tls": KEY, "random": STRING}[plugin.package]
    with pytest.raises(grpc.RpcError, match="id can't be imported"):
        plugin.read(token, "id", {}, {})
    plugin.stub.Delete(provider_pb2.DeleteRequest(urn=urn(token), id="id"))


def test_numbers_are_integers_where_they_are_whole() -> None:
    values = {"a": 1, "b": [2.5, True, "1"]}
    sent = plain(PropertyValue.unmarshal_map(marshal(values)))
    assert sent == values and isinstance(sent["a"], int) and sent["b"][1] is True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_plugin_in_silence(tmp_path: Path, number: int) -> None:
    with started("random", tmp_path) as (process, _):
        process.send_signal(number)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 0


def test_the_plugin_ends_when_its_engine_is_killed(tmp_path: Path) -> None:
    install(tmp_path, "random", sys.executable)
    engine = subprocess.Popen(
        ["sh", "-c", '"$0" & wait', tmp_path / "pulumi-resource-random"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with engine:
        assert engine.stdout and engine.stdout.readline()
        engine.kill()
        assert engine.communicate(timeout=30) == ("", None)  # no process holds the pipe
