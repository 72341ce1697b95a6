"""What the stack's configuration means."""

from typing import Any

import pytest
from pulumi_buildkit import ENVOY_IMAGE, Protocol, SecretLayout, Security, ServiceType
from pulumi_buildkit.volume import VolumeKind

from settings import GatewaySettings, JobSettings, Mode, Settings, VolumeSettings, parse
from tests.complaints import config


def test_only_the_clients_have_to_be_given() -> None:
    expected = Settings.model_validate({"clients": {"dev": {}}})
    assert parse(config()) == expected
    assert expected.mode is Mode.DEPLOYMENT
    assert expected.security is Security.ROOTLESS
    assert (expected.namespace, expected.image, expected.replicas) == (None, None, 1)
    assert (expected.registries, expected.buildkitd, expected.pod) == ({}, {}, {})
    assert (expected.create_namespace, expected.job) == (True, None)


def test_the_gateway_holds_builds_for_ten_minutes_by_default() -> None:
    settings = parse(config())
    gateway = settings.gateway
    assert gateway == GatewaySettings()
    assert (gateway.protocol, settings.hold, gateway.keepalive) == (Protocol.HTTP2, 600, 30)
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
        "docker.io/moby/buildkit:v0.34.2-rootless",
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


@pytest.mark.parametrize(
    "url", ["http://collector:4317", "https://[fd00::1]:4318/v1/traces", "http://10.0.0.1"]
)
def test_traces_go_to_a_web_address(url: str) -> None:
    traces = parse(config(traces={"endpoint": url})).traces
    assert traces and traces.endpoint == url


def test_a_certificate_may_be_valid_for_a_wildcard() -> None:
    assert parse(config(certificates={"sans": ["*.example.com"]})).certificates.sans


def test_a_claim_is_protected_by_default() -> None:
    assert parse(config()).volume == VolumeSettings(protect=True)


def test_no_node_is_changed_by_default() -> None:
    assert not parse(config()).user_namespaces.enabled


def test_an_existing_secret_is_as_cert_manager_writes_it_by_default() -> None:
    certificates = parse(config(certificates={"existingSecret": "mine"})).certificates
    assert (certificates.own, certificates.layout) == (True, SecretLayout.TLS)


def test_a_private_key_is_not_among_what_settings_print() -> None:
    settings = Settings.model_validate({"certificates": {"key": "hunter2"}})
    assert "hunter2" not in repr(settings) + str(settings)
    assert settings.certificates.key_pem == "hunter2"


@pytest.mark.parametrize(
    ("given", "text"),
    [(2, "2"), (0.5, "0.5"), ("500m", "500m"), ("1e3", "1e3"), (".5", ".5"), ("4Gi", "4Gi")],
)
def test_a_quantity_is_what_yaml_takes_for_a_number_too(given: Any, text: str) -> None:
    limits = parse(config(resources={"limits": {"cpu": given}})).resources.limits
    assert limits == {"cpu": text}


@pytest.mark.parametrize("size", ["50Gi", "1.5Ti", "500M", 53687091200, "5e10"])
def test_a_size_has_a_unit_or_is_in_bytes(size: Any) -> None:
    assert parse(config(volume={"size": size})).volume.size == str(size)


def test_a_gateway_of_which_nothing_is_to_be_requested_has_null_resources() -> None:
    given = parse(config(gateway={"resources": None})).gateway.resources
    assert given.requests == {"cpu": "0", "memory": "0"}


@pytest.mark.parametrize(
    ("resource", "limit"),
    [
        ("cpu", "2"),
        ("ephemeral-storage", "10Gi"),
        ("hugepages-2Mi", "4Mi"),
        ("nvidia.com/gpu", "1"),
    ],
)
def test_a_resource_is_kubernetes_own_or_a_device(resource: str, limit: str) -> None:
    limits = {"memory": "8Gi", resource: limit}
    assert parse(config(resources={"limits": limits})).resources.limits == limits


@pytest.mark.parametrize(
    "san", ["spiffe://example.com/ci", "https://ci.example.com", "ci.example.com", "10.0.0.1"]
)
def test_a_client_of_one_s_own_is_known_by_its_san(san: str) -> None:
    own = {"existingSecret": "mine"}
    assert parse(config(certificates=own, clients={"ci": {"san": san}})).clients["ci"].san == san


def job(**keys: Any) -> JobSettings:
    """The build of a stack that runs one."""
    settings = parse(config(mode="job", job=keys))
    assert settings.job is not None
    return settings.job


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/moby/buildkit.git",
        "https://github.com/moby/buildkit.git#v0.34.2",
        "https://github.com/moby/buildkit.git#v0.34.2:examples/kubernetes",
        "https://github.com/moby/buildkit.git#:examples",
        "https://github.com/moby/buildkit.git?branch=master&subdir=docs&keep-git-dir",
        "https://user:token@git.example.com:8443/team/app.git",
        "http://git.example.com/app.git",
        "http://[fd00::1]:3000/app.git",
        "git://git.example.com/app#main:src",
    ],
)
def test_a_context_is_a_git_url_as_buildkit_takes_it(url: str) -> None:
    assert job(context=url).context == url


def test_a_build_is_of_its_files_too() -> None:
    files = {"Dockerfile": "FROM scratch\nCOPY src /\n", "src/.env": "A=1"}
    assert job(files=files).files == files


def test_an_output_is_spelt_as_in_yaml() -> None:
    output = {"type": "image", "name": "r.org/a:1", "push": True, "compression-level": 3}
    assert job(context="git://h/p", outputs=[output]).outputs == [
        {"type": "image", "name": "r.org/a:1", "push": "true", "compression-level": "3"}
    ]


def test_a_failed_build_is_final_and_its_job_stays_by_default() -> None:
    build = job(context="git://h/p")
    assert (build.backoff_limit, build.deadline, build.ttl) == (0, 3600, None)
    assert (build.frontend, build.dockerfile) == ("dockerfile.v0", "Dockerfile")


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({"mode": "pod"}, VolumeKind.EMPTY_DIR),
        ({"mode": "statefulset"}, VolumeKind.CLAIM),
        ({"mode": "statefulset", "volume": {"kind": "emptyDir"}}, VolumeKind.EMPTY_DIR),
        ({"volume": {"kind": "claim"}}, VolumeKind.CLAIM),
    ],
)
def test_the_kind_of_volume_is_as_said_or_as_the_mode_has_it(
    keys: dict[str, Any], kind: VolumeKind
) -> None:
    assert parse(config(**keys)).volume_kind is kind
