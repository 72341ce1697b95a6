"""What the stack's configuration means, and what its writer is told of each mistake in it."""

import json
import string
from typing import Any

import hypothesis
import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.runtime import config as pulumi_config
from pulumi_buildkit import ENVOY_IMAGE, Protocol, Security, ServiceType

import settings
from settings import GatewaySettings, Mode, Settings, parse, section_of

NOTHING: dict[str, Any] = {}


def config(**keys: Any) -> dict[str, str]:
    """A configuration as Pulumi hands it over, with the one key that has to be there."""
    values = {"clients": {"dev": NOTHING}, **keys}
    return {key: v if isinstance(v, str) else json.dumps(v) for key, v in values.items()}


def complaints(values: dict[str, str]) -> list[str]:
    """The lines that the writer of *values* gets to see, but the heading."""
    with pytest.raises(pulumi.RunError) as error:
        parse(values)
    heading, *lines = str(error.value).splitlines()
    assert heading == "the stack's configuration can't be used:"
    return [line.removeprefix("  ") for line in lines]


def test_only_the_clients_have_to_be_given() -> None:
    expected = Settings.model_validate({"clients": {"dev": {}}})
    assert parse(config()) == expected
    assert expected.mode is Mode.DEPLOYMENT
    assert expected.security is Security.ROOTLESS
    assert (expected.namespace, expected.image, expected.replicas) == (None, None, 1)
    assert expected.registries == {}


def test_the_gateway_holds_builds_for_ten_minutes_by_default() -> None:
    gateway = parse(config()).gateway
    assert gateway == GatewaySettings()
    assert (gateway.protocol, gateway.hold) == (Protocol.HTTP2, 600)
    assert (gateway.service, gateway.host, gateway.port) == (ServiceType.CLUSTER_IP, None, 1234)
    assert (gateway.node_port, gateway.replicas, gateway.image) == (None, 2, ENVOY_IMAGE)


def test_certificates_last_a_year_and_are_renewed_a_month_early_by_default() -> None:
    lifetimes = parse(config()).certificates
    assert lifetimes.validity_hours == 365 * 24
    assert lifetimes.early_renewal_hours == 30 * 24
    assert lifetimes.ca_validity_hours == 10 * lifetimes.validity_hours


def test_text_becomes_the_type_of_its_key() -> None:
    given_as_text = parse(config(replicas="3", security="userns", registries='{"r:5000": {}}'))
    assert given_as_text.replicas == 3
    assert given_as_text.security is Security.USERNS
    assert list(given_as_text.registries) == ["r:5000"]


def test_a_client_may_be_a_name_with_nothing_below_it() -> None:
    assert list(parse(config(clients={"dev": None, "ci": {}})).clients) == ["dev", "ci"]


def test_settings_can_not_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(parse(config()), "replicas", 2)  # noqa: B010


@pytest.mark.parametrize(
    "image",
    [
        "moby/buildkit",
        "docker.io/moby/buildkit:v0.33.1-rootless",
        "localhost:5000/buildkit:V1_x",
        "[fd00::1]:5000/buildkit",
        "buildkit@sha256:" + "a" * 64,
        "ghcr.io/team/build-kit__x/y.z:v1@sha256:" + "0" * 64,
    ],
)
def test_an_image_is_taken_by_tag_or_digest(image: str) -> None:
    assert parse(config(image=image)).image == image


@pytest.mark.parametrize(
    "host", ["localhost", "build.example.com", "10.0.0.1", "::1", "1.a", "x" * 63]
)
def test_a_host_is_a_dns_name_or_an_address(host: str) -> None:
    assert parse(config(gateway={"host": host})).gateway.host == host


def test_a_certificate_may_be_valid_for_a_wildcard() -> None:
    assert parse(config(certificates={"sans": ["*.example.com"]})).certificates.sans


NO_HOST = "is no DNS name (lower case) and no IP address; give one of them, without scheme or port"
NO_SAN = (
    "is no DNS name (lower case, `*.` in front allowed) and no IP address; give one of them, "
    "without scheme or port"
)
NO_NAME = "is no name; take lower-case letters, digits and hyphens inside, 63 characters at most"
NO_IMAGE = "is no image; write it as REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST"
NO_REGISTRY = "is no registry; write it as HOST or HOST:PORT, without a scheme"
NO_MIRROR = "is no mirror; write it as HOST[:PORT][/PATH], without a scheme"
NO_WHOLE_NUMBER = "is no whole number; write one, as 2"
NO_MAP = "is no map; write its keys below it, one a line"
NO_NAMES = "is no map; write its names below it, one a line, each followed by a colon"
RESERVED = "is a name that the server's own certificates have; give the client another"
KEYS = (
    "the keys are clients, mode, security, namespace, image, replicas, updateTimeout, gateway, "
    "certificates, "
    "registries"
)
GATEWAY_KEYS = "the keys are protocol, service, host, port, nodePort, replicas, hold, image"
MISTAKES: list[tuple[dict[str, Any], str]] = [
    # Keys that there are not.
    ({"colour": "red"}, f"buildkit:colour: 'red': is no key; {KEYS}"),
    ({"replica": "3"}, f"buildkit:replica: '3': is no key; did you mean replicas? {KEYS}"),
    (
        {"gateway.port": "1"},
        f"buildkit:[\"gateway.port\"]: '1': is no key; did you mean gateway? {KEYS}",
    ),
    (
        {"gateway": {"node_port": 1}},
        f"buildkit:gateway.node_port: 1: is no key; did you mean nodePort? {GATEWAY_KEYS}",
    ),
    (
        {"certificates": {"early_renewal_hours": 1}},
        "buildkit:certificates.early_renewal_hours: 1: is no key; did you mean earlyRenewalHours? "
        "the keys are sans, validityHours, earlyRenewalHours, caValidityHours",
    ),
    (
        {"registries": {"r": {"mirror": "m"}}},
        "buildkit:registries.r.mirror: 'm': is no key; did you mean mirrors? "
        "the keys are mirrors, http, insecure",
    ),
    (
        {"clients": {"dev": {"role": "admin"}}},
        "buildkit:clients.dev.role: 'admin': is no key; there are none here yet",
    ),
    # Wrong values.
    ({"mode": "pod"}, "buildkit:mode: 'pod': is none of its values; take 'deployment'"),
    (
        {"security": "root"},
        "buildkit:security: 'root': is none of its values; "
        "take 'rootless', 'privileged' or 'userns'",
    ),
    (
        {"gateway": {"protocol": "http3"}},
        "buildkit:gateway.protocol: 'http3': is none of its values; take 'http2' or 'tcp'",
    ),
    (
        {"gateway": {"service": "nodeport"}},
        "buildkit:gateway.service: 'nodeport': is none of its values; "
        "take 'ClusterIP', 'NodePort' or 'LoadBalancer'",
    ),
    ({"namespace": "Team"}, f"buildkit:namespace: 'Team': {NO_NAME}"),
    ({"image": "moby/buildkit: v1"}, f"buildkit:image: 'moby/buildkit: v1': {NO_IMAGE}"),
    ({"image": ""}, f"buildkit:image: '': {NO_IMAGE}"),
    ({"gateway": {"image": "a@sha256:1"}}, f"buildkit:gateway.image: 'a@sha256:1': {NO_IMAGE}"),
    ({"replicas": "0"}, "buildkit:replicas: '0': is too small; take 1 or more"),
    ({"replicas": "1001"}, "buildkit:replicas: '1001': is too large; take 1000 or less"),
    ({"gateway": {"port": 0}}, "buildkit:gateway.port: 0: is too small; take 1 or more"),
    (
        {"gateway": {"port": 65536}},
        "buildkit:gateway.port: 65536: is too large; take 65535 or less",
    ),
    ({"gateway": {"hold": -1}}, "buildkit:gateway.hold: -1: is too small; take 0 or more"),
    (
        {"gateway": {"service": "NodePort", "host": "a", "nodePort": 80}},
        "buildkit:gateway.nodePort: 80: is too small; take 1024 or more",
    ),
    (
        {"gateway": {"nodePort": 30000}},
        "buildkit:gateway.nodePort: 30000: needs service NodePort, and service is ClusterIP; "
        "take it away, or set service: NodePort",
    ),
    # Missing SANs, and SANs that are none.
    (
        {"gateway": {"service": "NodePort"}},
        "buildkit:gateway.host: is missing: with service NodePort give the name or address that "
        "clients dial, or no certificate is valid for it",
    ),
    (
        {"gateway": {"service": "LoadBalancer"}},
        "buildkit:gateway.host: is missing: with service LoadBalancer give the name or address "
        "that clients dial, or no certificate is valid for it",
    ),
    ({"gateway": {"host": "a:1234"}}, f"buildkit:gateway.host: 'a:1234': {NO_HOST}"),
    ({"gateway": {"host": "*.a.org"}}, f"buildkit:gateway.host: '*.a.org': {NO_HOST}"),
    ({"gateway": {"host": "10.0.0.300"}}, f"buildkit:gateway.host: '10.0.0.300': {NO_HOST}"),
    ({"gateway": {"host": "fe80::1%eth0"}}, f"buildkit:gateway.host: 'fe80::1%eth0': {NO_HOST}"),
    (
        {"certificates": {"sans": ["a.org", "https://b.org"]}},
        f"buildkit:certificates.sans[1]: 'https://b.org': {NO_SAN}",
    ),
    # Certificates that end too early.
    (
        {"certificates": {"validityHours": 48, "earlyRenewalHours": 48}},
        "buildkit:certificates.earlyRenewalHours: 48: is not less than validityHours, 48; "
        "take fewer hours",
    ),
    (
        {"certificates": {"validityHours": 48}},
        "buildkit:certificates.earlyRenewalHours: 720: is not less than validityHours, 48; "
        "take fewer hours",
    ),
    (
        {"certificates": {"caValidityHours": 8759}},
        "buildkit:certificates.caValidityHours: 8759: is less than validityHours, 8760; "
        "take as many hours at least",
    ),
    (
        {"certificates": {"validityHours": 87601}},
        "buildkit:certificates.caValidityHours: 87600: is less than validityHours, 87601; "
        "take as many hours at least",
    ),
    # Clients that can't be.
    ({"clients": {}}, "buildkit:clients: is empty; write at least one name below it, as `dev: {}`"),
    ({"clients": {"Ann Lee": {}}}, f"buildkit:clients[\"Ann Lee\"]: 'Ann Lee': {NO_NAME}"),
    ({"clients": {"": {}}}, f"buildkit:clients[\"\"]: '': {NO_NAME}"),
    ({"clients": {"a\nb": {}}}, f"buildkit:clients[\"a\\nb\"]: 'a\\nb': {NO_NAME}"),
    ({"clients": {"x" * 64: {}}}, f"buildkit:clients.{'x' * 64}: '{'x' * 64}': {NO_NAME}"),
    ({"clients": {"server": {}}}, f"buildkit:clients.server: 'server': {RESERVED}"),
    ({"clients": {"envoy": {}}}, f"buildkit:clients.envoy: 'envoy': {RESERVED}"),
    # Registries that can't be.
    (
        {"registries": {"https://r.org": {}}},
        f"buildkit:registries[\"https://r.org\"]: 'https://r.org': {NO_REGISTRY}",
    ),
    (
        {"registries": {"docker.io": {"mirrors": ["http://m"]}}},
        f"buildkit:registries[\"docker.io\"].mirrors[0]: 'http://m': {NO_MIRROR}",
    ),
    # Wrong types.
    ({"replicas": "two"}, f"buildkit:replicas: 'two': {NO_WHOLE_NUMBER}"),
    ({"replicas": "1.5"}, f"buildkit:replicas: '1.5': {NO_WHOLE_NUMBER}"),
    ({"gateway": {"hold": 1.5}}, f"buildkit:gateway.hold: 1.5: {NO_WHOLE_NUMBER}"),
    ({"gateway": {"port": True}}, f"buildkit:gateway.port: 'true': {NO_WHOLE_NUMBER}"),
    ({"gateway": {"port": [1]}}, f"buildkit:gateway.port: [1]: {NO_WHOLE_NUMBER}"),
    ({"gateway": {"port": None}}, f"buildkit:gateway.port: {NO_WHOLE_NUMBER}"),
    ({"gateway": {"image": 5}}, "buildkit:gateway.image: 5: is no text; put it in quotes"),
    ({"gateway": "http2"}, f"buildkit:gateway: 'http2': {NO_MAP}"),
    ({"gateway": ["http2"]}, f"buildkit:gateway: ['http2']: {NO_MAP}"),
    ({"clients": ["dev"]}, f"buildkit:clients: ['dev']: {NO_NAMES}"),
    ({"clients": {"dev": True}}, f"buildkit:clients.dev: True: {NO_MAP}"),
    (
        {"certificates": {"sans": "a.org"}},
        "buildkit:certificates.sans: 'a.org': is no list; "
        "write its items below it, one a line, each after a hyphen",
    ),
    (
        {"registries": {"r": {"http": "plain"}}},
        "buildkit:registries.r.http: 'plain': is neither true nor false; write one of them",
    ),
    # JSON that is none.
    ({"clients": '{"dev": {}'}, f"buildkit:clients: '{{\"dev\": {{}}': {NO_NAMES}"),
    ({"gateway": "{port: 1}"}, f"buildkit:gateway: '{{port: 1}}': {NO_MAP}"),
]


@pytest.mark.parametrize(
    ("keys", "line"), MISTAKES, ids=[line.split(": ")[0] for _, line in MISTAKES]
)
def test_a_mistake_is_one_line_with_its_key_and_what_to_do(keys: dict[str, Any], line: str) -> None:
    assert complaints(config(**keys)) == [line]


def test_a_configuration_without_clients_says_how_to_name_one() -> None:
    line = "buildkit:clients: is missing; write at least one name below it, as `dev: {}`"
    assert complaints({}) == [line]


def test_all_mistakes_are_told_at_once() -> None:
    lines = complaints(
        config(
            clients={},
            mode="pod",
            replica="3",
            gateway={"service": "NodePort", "port": 0, "hold": "long"},
            certificates={"validityHours": 1, "sans": ["a b"]},
        )
    )
    assert [line.split(": ")[0] for line in lines] == [
        "buildkit:clients",
        "buildkit:mode",
        "buildkit:gateway.host",
        "buildkit:gateway.port",
        "buildkit:gateway.hold",
        "buildkit:certificates.sans[0]",
        "buildkit:certificates.earlyRenewalHours",
        "buildkit:replica",
    ]


def test_a_long_value_is_shown_short() -> None:
    (line,) = complaints(config(image="x" * 10_000 + "!"))
    assert len(line) < 200


def test_a_misspelt_key_of_the_stack_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps({"buildkit:modus": "x", "aws:region": "y"}))
    pulumi_config.set_all_config({"buildkit:clients": '{"dev": {}}', "kubernetes:context": "z"})
    try:
        with pytest.raises(pulumi.RunError, match="buildkit:modus: 'x': is no key") as error:
            settings.load()
    finally:
        pulumi_config.set_all_config({})
    assert len(str(error.value).splitlines()) == 2


FIELDS = Settings.model_fields
SECTIONS = [Settings, *filter(None, (section_of(f.annotation) for f in FIELDS.values()))]
KEYS_OF_ALL = sorted({f.alias or name for s in SECTIONS for name, f in s.model_fields.items()})
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["http2", "NodePort", "rootless", "1234", "true", "docker.io", "[key]"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS_OF_ALL) | st.text(), inner, max_size=4)
    ),
    max_leaves=8,
)
TEXTS = VALUES.map(json.dumps) | st.text() | st.text().map("{".__add__) | st.text(string.digits)


# Two cores may be busy: a slow example is no failure.
@hypothesis.settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS_OF_ALL) | st.text(), TEXTS))
def test_any_text_is_settings_or_one_line_for_each_mistake(values: dict[str, str]) -> None:
    try:
        assert isinstance(parse(values), Settings)
    except pulumi.RunError as error:
        _, *lines = str(error).split("\n")
        assert all(line.startswith("  buildkit:") and line.isprintable() for line in lines)
