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


def test_only_what_others_define_takes_anything(schema: dict[str, Any]) -> None:
    found = [path for path, v in everything(schema).items() if "pulumi.json#/Any" in json.dumps(v)]
    taking = {
        "DaemonArgs": ("config", "pod", "serviceOverlay"),
        "Gateway": ("pod", "serviceOverlay"),
        "UserNamespaces": ("pod",),
    }
    paths = [(name, f"{name}.{key}") for name, keys in taking.items() for key in keys]
    assert {*found} == {f"buildkit:index:{path}" for pair in paths for path in pair}


def test_no_property_is_a_list_or_map_of_enums(schema: dict[str, Any]) -> None:
    # Pulumi's provider hands over empty maps in the place of their values.
    enums = {f"#/types/{token}" for token, value in schema["types"].items() if value.get("enum")}
    inner = [
        (path, value.get(key, {}).get("$ref"))
        for path, value in everything(schema).items()
        for key in ("items", "additionalProperties")
    ]
    assert enums
    assert not [path for path, reference in inner if reference in enums]


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


def test_a_hosted_gateway_takes_enums_maps_and_floats() -> None:
    made = construct(
        "Gateway",
        namespace="build",
        upstreamHost="buildkitd.build.svc",
        upstreamPort=1235.0,
        upstreamSecret="internal",
        serverSecret="edge",
        serverSecretLayout="tls",
        clients={"dev": {}, "ci": {"san": "client"}},
        hold=30.0,
        port=443.0,
        replicas=3.0,
        serviceType="NodePort",
        nodePort=30001.0,
        host="node",
    )
    bootstrap = made.one("ConfigMap", "team-bootstrap").inputs["data"]["envoy.json"]
    assert '"port_value": 1235\n' in bootstrap
    assert "gateway.hold: 30 s" in bootstrap
    assert '"exact": "client"' in made.one("ConfigMap", "team-xds").inputs["data"]["clients.json"]
    assert made.one("Deployment").inputs["spec"]["replicas"] == 3
    assert made.outputs_of("Gateway").values["endpoint"] == "node:30001"


DAEMON = {
    "security": "userns",
    "registries": {"docker.io": {"mirrors": ["mirror:5000"], "http": True}},
    "garbageCollection": {"maxUsedSpace": "1Gi"},
    "maxParallelism": 4.0,
    "config": {"history": {"maxEntries": 50.0}},
    "resources": {"requests": {"cpu": "2"}},
    "pod": {"spec": {"priorityClassName": "ci", "terminationGracePeriodSeconds": 1900.0}},
}
"""All that a daemon can be told, as another language sends it."""

TOML = """\
[history]
maxEntries = 50

[registry."docker.io"]
http = true
mirrors = [
    "mirror:5000",
]

[worker.oci]
max-parallelism = 4
maxUsedSpace = "1073741824"
"""


@pytest.mark.parametrize("kind", ["Pod", "Deployment", "StatefulSet"])
def test_a_hosted_workload_takes_enums_maps_and_floats(kind: str) -> None:
    made = construct(
        f"Buildkit{kind}",
        namespace="build",
        certificates="tls",
        certificatesLayout="tls",
        daemon=DAEMON,
        volume={"kind": "emptyDir"},
        updateTimeout=120.0,
    )
    workload = made.one(kind)
    spec = workload.inputs["spec"].get("template", workload.inputs)["spec"]
    assert (spec["hostUsers"], spec["priorityClassName"]) == (False, "ci")
    assert spec["terminationGracePeriodSeconds"] == 1900
    assert spec["containers"][0]["resources"] == {"requests": {"cpu": "2"}}
    (certificates,) = (volume["secret"] for volume in spec["volumes"] if "secret" in volume)
    assert [item["key"] for item in certificates["items"]] == ["ca.crt", "tls.crt", "tls.key"]
    assert made.one("ConfigMap").inputs["data"]["buildkitd.toml"] == TOML
    assert workload.request.customTimeouts.create == "120s"


@pytest.mark.parametrize("kind", ["Pod", "StatefulSet"])
def test_a_hosted_workload_needs_a_namespace_only(kind: str) -> None:
    made = construct(f"Buildkit{kind}", namespace="build")
    assert made.one(kind).inputs["metadata"]["namespace"] == "build"


@pytest.mark.parametrize(
    ("kind", "claims"),
    [
        ("Pod", ["rootless-cache-team-pod"]),
        ("Deployment", ["rootless-cache-team"]),
        ("StatefulSet", ["rootless-cache-team-0"]),
    ],
)
def test_a_hosted_workload_has_claims(kind: str, claims: list[str]) -> None:
    volume = {"kind": "claim", "size": "10Gi", "storageClass": "ssd", "protect": False}
    made = construct(f"Buildkit{kind}", namespace="build", certificates="tls", volume=volume)
    found = [*made.of("PersistentVolumeClaim")]
    assert [claim.name for claim in found] == claims
    assert {claim.inputs["spec"]["storageClassName"] for claim in found} == {"ssd"}
    assert not any(claim.request.protect for claim in found)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_hosted_replicas_are_a_whole_number(kind: str) -> None:
    made = construct(f"Buildkit{kind}", namespace="build", certificates="tls", replicas=3.0)
    assert made.one(kind).inputs["spec"]["replicas"] == 3


def test_hosted_certificates_take_lists_of_layouts_and_hours_as_floats() -> None:
    made = construct(
        "Certificates",
        namespace="build",
        sans=["a.org"],
        clients=["dev"],
        serverSecretLayouts=["envoy", "tls"],
        validityHours=48.0,
        earlyRenewalHours=12.0,
        caValidityHours=96.0,
    )
    assert made.one("SelfSignedCert").inputs["validityPeriodHours"] == 96
    assert made.outputs_of("Certificates").values["serverSecrets"] == {
        "envoy": "team-envoy-certs",
        "tls": "team-tls",
    }
