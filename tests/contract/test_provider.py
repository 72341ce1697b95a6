"""The component provider: what other Pulumi languages see, and what they send."""

import json
import runpy
from collections.abc import Iterator
from typing import Any

import pulumi_buildkit
import pytest
from pulumi.provider.experimental.component import ComponentProvider

from tests.recording import REPO, Recording, record

SNAPSHOT = REPO / "tests" / "contract" / "schema.json"


def provider() -> ComponentProvider:
    components = runpy.run_path(str(REPO / "components" / "__main__.py"))["COMPONENTS"]
    return ComponentProvider(components, "buildkit")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json.loads(provider().schema or "")


def described(value: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every resource, type, property and enum value below *value*, by its path."""
    yield path, value
    for key in ("inputProperties", "properties"):
        for name, inner in value.get(key, {}).items():
            yield f"{path}.{name}", inner
    for inner in value.get("enum", []):
        yield f"{path}.{inner['name']}", inner


def everything(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    tops = {**schema["resources"], **schema["types"]}
    return dict(item for name, top in tops.items() for item in described(top, name))


def test_every_public_component_is_hosted(schema: dict[str, Any]) -> None:
    hosted = {token.split(":")[2] for token in schema["resources"]}
    assert {f"{name}Args" for name in hosted} <= {*pulumi_buildkit.__all__}
    assert hosted == {name for name in pulumi_buildkit.__all__ if is_component(name)}


def is_component(name: str) -> bool:
    return hasattr(getattr(pulumi_buildkit, name), "register_outputs")


def test_no_type_is_empty(schema: dict[str, Any]) -> None:
    # The analyzer makes one, and says nothing, of a class that it can't look into.
    assert schema["types"]
    empty = [t for t, v in schema["types"].items() if not v.get("properties") and not v.get("enum")]
    assert not empty


def test_no_property_takes_anything(schema: dict[str, Any]) -> None:
    assert "pulumi.json#/Any" not in json.dumps(schema)


def test_everything_is_described(schema: dict[str, Any]) -> None:
    assert len(everything(schema)) > 40
    assert not [path for path, value in everything(schema).items() if not value.get("description")]


def test_other_languages_see_what_they_saw(
    schema: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--update-golden"):
        SNAPSHOT.write_text(json.dumps(schema, indent=2) + "\n")
    assert json.loads(SNAPSHOT.read_text()) == schema


def construct(component: str, **inputs: Any) -> Recording:
    """Make a component as the engine does for another language: camelCase, numbers as floats."""
    return record(lambda: provider().construct("team", f"buildkit:index:{component}", inputs))


def test_a_hosted_gateway_takes_ports_and_replicas_as_floats() -> None:
    made = construct(
        "Gateway",
        namespace="build",
        upstreamHost="buildkitd.build.svc",
        upstreamPort=1235.0,
        upstreamSecret="internal",
        serverSecret="edge",
        clients=["dev"],
        hold=30.0,
        port=443.0,
        replicas=3.0,
        serviceType="NodePort",
        nodePort=30001.0,
        host="node",
    )
    bootstrap = made.one("ConfigMap", "team-bootstrap").inputs["data"]["envoy.json"]
    assert '"port_value": 1235\n' in bootstrap
    assert '"num_retries": 60,' in bootstrap
    assert made.one("Deployment").inputs["spec"]["replicas"] == 3
    assert made.outputs_of("Gateway").values["endpoint"] == "node:30001"


def test_a_hosted_deployment_takes_enums_maps_and_floats() -> None:
    made = construct(
        "BuildkitDeployment",
        namespace="build",
        certificates="daemon-certs",
        security="userns",
        replicas=2.0,
        registries={"docker.io": {"mirrors": ["mirror:5000"], "http": True}},
    )
    spec = made.one("Deployment").inputs["spec"]
    assert (spec["replicas"], spec["template"]["spec"]["hostUsers"]) == (2, False)
    toml = made.one("ConfigMap").inputs["data"]["buildkitd.toml"]
    assert toml == '[registry."docker.io"]\nmirrors = [\n    "mirror:5000",\n]\nhttp = true\n'


def test_hosted_certificates_take_hours_as_floats() -> None:
    made = construct(
        "Certificates",
        namespace="build",
        sans=["a.org"],
        clients=["dev"],
        serverSecretLayout="envoy",
        validityHours=48.0,
        earlyRenewalHours=12.0,
        caValidityHours=96.0,
    )
    assert made.one("SelfSignedCert").inputs["validityPeriodHours"] == 96
    assert made.outputs_of("Certificates").values["serverSecret"] == "team-envoy-certs"
