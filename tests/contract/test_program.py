"""The whole program, as a stack runs it."""

import json
import runpy
from typing import Any

import pulumi
import pytest
import yaml

from tests.recording import REPO, Recording, record, stack_config


def run(preview: bool = False, **keys: Any) -> Recording:
    """The program with the dev stack's configuration, *keys* changed in it."""
    changed = {
        f"buildkit:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in keys.items()
    }
    config = {**stack_config("dev"), **changed}
    return record(lambda: runpy.run_path(str(REPO / "__main__.py")), config, preview)


@pytest.fixture(scope="module")
def dev() -> Recording:
    return run()


def outputs(made: Recording) -> dict[str, Any]:
    return made.outputs_of("Stack").values


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("endpoint", "127.0.0.1:1234"),
        ("namespace", "buildkit-dev-x1y2z"),
        ("workload", "deployment/buildkitd"),
        ("gateway", "deployment/buildkit-gateway"),
        (
            "buildx_command",
            "docker buildx create --name buildkit --driver remote --driver-opt "
            '"cacert=$PWD/certs/ca.pem,cert=$PWD/certs/cert.pem,key=$PWD/certs/key.pem" '
            "tcp://127.0.0.1:1234",
        ),
        (
            "buildctl_command",
            "buildctl --addr tcp://127.0.0.1:1234 --tlscacert certs/ca.pem "
            "--tlscert certs/cert.pem --tlskey certs/key.pem build --frontend dockerfile.v0 "
            "--local context=. --local dockerfile=.",
        ),
    ],
)
def test_an_output_is_ready_to_use(dev: Recording, output: str, value: str) -> None:
    assert outputs(dev)[output] == value


def test_the_clients_are_an_output_of_certificates_by_name(dev: Recording) -> None:
    assert {name: sorted(bundle) for name, bundle in outputs(dev)["clients"].items()} == {
        "dev": ["ca", "cert", "key"]
    }


def test_the_clients_are_the_only_secret_output(dev: Recording) -> None:
    assert dev.outputs_of("Stack").secrets == {"clients"}


def test_workload_and_gateway_are_what_kubectl_calls_them(dev: Recording) -> None:
    deployments = {f"deployment/{d.inputs['metadata']['name']}" for d in dev.of("Deployment")}
    assert deployments == {outputs(dev)["workload"], outputs(dev)["gateway"]}


def test_everything_is_in_the_stack_s_namespace(dev: Recording) -> None:
    objects = [r for r in dev.resources if r.type.startswith("kubernetes:")]
    namespaces = {r.inputs["metadata"].get("namespace", "") for r in objects}
    assert namespaces == {"", outputs(dev)["namespace"]}


def test_a_named_namespace_is_used_as_it_is() -> None:
    assert outputs(run(namespace="team"))["namespace"] == "team"


def test_the_gateway_s_certificate_is_valid_for_what_clients_dial() -> None:
    made = run(gateway={"host": "build.example.com"})
    request = made.one("CertRequest", "buildkit-server-request").inputs
    assert outputs(made)["endpoint"] == f"{request['dnsNames'][0]}:1234"


def test_the_certificate_is_valid_for_the_given_names_too() -> None:
    made = run(certificates={"sans": ["other.example.com"]})
    names = made.one("CertRequest", "buildkit-server-request").inputs["dnsNames"]
    assert names == [
        "buildkit-gateway.buildkit-dev-x1y2z.svc",
        "localhost",
        "other.example.com",
    ]


def test_only_the_gateway_has_a_certificate_for_buildkitd(dev: Recording) -> None:
    internal = [r for r in dev.of("LocallySignedCert") if "buildkitd" in r.name]
    usage = {r.name: r.inputs["allowedUses"][-1] for r in internal}
    assert usage == {"buildkitd-server": "server_auth", "buildkitd-gateway": "client_auth"}


def test_the_gateway_dials_a_name_that_buildkitd_s_certificate_has(dev: Recording) -> None:
    bootstrap = dev.one("ConfigMap", "buildkit-gateway-bootstrap").inputs["data"]["envoy.json"]
    (cluster,) = json.loads(bootstrap)["static_resources"]["clusters"]
    sni = cluster["transport_socket"]["typed_config"]["sni"]
    assert [sni] == dev.one("CertRequest", "buildkitd-server-request").inputs["dnsNames"]


@pytest.mark.parametrize("option", ["enableSecretMutable", "enableConfigMapMutable"])
def test_renewed_certificates_and_clients_change_in_place(option: str) -> None:
    project = yaml.safe_load((REPO / "Pulumi.yaml").read_text())
    assert project["config"][f"kubernetes:{option}"]["value"] is True


@pytest.mark.parametrize("client", ["internal-gateway", "gateway", "buildkitd", "internal-ca"])
def test_a_client_s_name_never_collides_with_the_program_s_own(client: str) -> None:
    names = [r.inputs["metadata"]["name"] for r in run(clients={client: {}}).of("Secret")]
    assert len(names) == len(set(names)) == 4


@pytest.mark.parametrize(
    ("keys", "kind", "name", "path", "value"),
    [
        ({"replicas": "3"}, "Deployment", "buildkitd", ["replicas"], 3),
        ({"gateway": {"replicas": 4}}, "Deployment", "buildkit-gateway", ["replicas"], 4),
        (
            {"gateway": {"service": "LoadBalancer", "host": "a.org"}},
            "Service",
            "buildkit-gateway",
            ["type"],
            "LoadBalancer",
        ),
        (
            {"image": "a/b:c"},
            "Deployment",
            "buildkitd",
            ["template", "spec", "containers", 0, "image"],
            "a/b:c",
        ),
        (
            {"gateway": {"image": "a/e:v"}},
            "Deployment",
            "buildkit-gateway",
            ["template", "spec", "containers", 0, "image"],
            "a/e:v",
        ),
        (
            {"security": "userns"},
            "Deployment",
            "buildkitd",
            ["template", "spec", "hostUsers"],
            False,
        ),
    ],
)
def test_a_setting_reaches_its_object(
    keys: dict[str, Any], kind: str, name: str, path: list[Any], value: object
) -> None:
    found = run(**keys).one(kind, name).inputs["spec"]
    for key in path:
        found = found[key]
    assert found == value


def test_a_hold_reaches_envoy() -> None:
    made = run(gateway={"hold": 10})
    bootstrap = made.one("ConfigMap", "buildkit-gateway-bootstrap").inputs["data"]["envoy.json"]
    assert '"num_retries": 20' in bootstrap


def test_registries_reach_buildkitd() -> None:
    made = run(registries={"r:5000": {"http": True}})
    toml = made.one("ConfigMap", "buildkitd-config").inputs["data"]["buildkitd.toml"]
    assert toml == '[registry."r:5000"]\nmirrors = []\nhttp = true\ninsecure = false\n'


def test_lifetimes_reach_the_certificates_of_clients() -> None:
    made = run(certificates={"validityHours": 1000, "caValidityHours": 2000})
    assert made.one("LocallySignedCert", "buildkit-dev").inputs["validityPeriodHours"] == 1000
    assert made.one("SelfSignedCert", "buildkit-ca").inputs["validityPeriodHours"] == 2000


def test_a_preview_shows_everything_before_the_namespace_has_its_name(dev: Recording) -> None:
    assert {r.urn for r in run(preview=True).resources} == {r.urn for r in dev.resources}


def test_a_mistake_in_the_configuration_ends_the_program() -> None:
    with pytest.raises(pulumi.RunError, match="buildkit:mode: 'pods': is none of its values"):
        run(mode="pods")
