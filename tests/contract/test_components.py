"""What holds for every component in every variant."""

from collections.abc import Iterator
from typing import Any

import pulumi
import pulumi_buildkit
import pytest

from tests.contract.cases import CASES, NAME, NAMESPACE
from tests.contract.conftest import Made
from tests.official_images import PROGRAMS, missing
from tests.recording import Resource, record

# Pods that clients come to, and pods that do one thing.
SERVING = ("Deployment", "StatefulSet", "Pod")
WORKING = ("Job", "DaemonSet")
STAYING = (*SERVING, "DaemonSet")


def of(case: Made, kinds: tuple[str, ...]) -> list[Resource]:
    """A case's objects of these kinds."""
    return [child for child in case.kubernetes() if child.type.rpartition(":")[2] in kinds]


def templates(case: Made, kinds: tuple[str, ...] = SERVING + WORKING) -> list[dict[str, Any]]:
    """The pods of a case's objects of these kinds: metadata and spec."""
    return [child.inputs["spec"].get("template", child.inputs) for child in of(case, kinds)]


def containers(case: Made, kinds: tuple[str, ...] = SERVING + WORKING) -> list[dict[str, Any]]:
    return [c for template in templates(case, kinds) for c in template["spec"]["containers"]]


def selectors(case: Made) -> list[dict[str, str]]:
    # A PodMonitor is of several components' pods.
    selecting = [child for child in case.kubernetes() if not child.type.endswith("PodMonitor")]
    specs = [child.inputs.get("spec", {}) for child in selecting]
    found = [spec["selector"] for spec in specs if spec.get("selector")]
    return [selector.get("matchLabels", selector) for selector in found]


def test_every_component_is_a_case() -> None:
    components = {
        name
        for name in pulumi_buildkit.__all__
        if isinstance(public := getattr(pulumi_buildkit, name), type)
        and issubclass(public, pulumi.ComponentResource)
    }
    assert components == {name.split("-")[0] for name in CASES}


def test_the_type_token_is_the_class_name(case: Made) -> None:
    assert case.component.type == f"buildkit:index:{case.kind}"


def test_every_child_has_the_component_as_its_parent(case: Made) -> None:
    assert case.children
    assert {child.parent for child in case.children} == {case.component.urn}


def test_every_child_is_named_after_the_component(case: Made) -> None:
    # Of a claim Kubernetes wants to know its volume first.
    assert not [child.name for child in case.children if NAME not in child.name.split("-")]


def test_every_public_attribute_is_registered_as_an_output(case: Made) -> None:
    component = getattr(pulumi_buildkit, case.kind)
    attributes = [name for name in component.__annotations__ if not name.startswith("_")]
    assert sorted(case.outputs.values) == sorted(
        head + "".join(part.title() for part in rest)
        for head, *rest in (name.split("_") for name in attributes)
    )


def test_every_object_is_labelled(case: Made) -> None:
    for child in case.kubernetes():
        labels = child.inputs["metadata"]["labels"]
        assert labels["app"] == labels["app.kubernetes.io/instance"] == NAME, child.name
        assert labels["app.kubernetes.io/part-of"] == "buildkit", child.name
        assert labels["app.kubernetes.io/name"], child.name


def test_every_object_is_in_the_given_namespace(case: Made) -> None:
    assert {child.inputs["metadata"]["namespace"] for child in case.kubernetes()} == {NAMESPACE}


def test_selectors_find_the_pods_that_stay_and_no_others(case: Made) -> None:
    whose = "team-gateway" if case.kind == "Autoscaler" else NAME
    assert all(selector == {"app": whose} for selector in selectors(case))
    found = [t for t in templates(case) if t["metadata"]["labels"]["app"] == NAME]
    assert found == templates(case, STAYING)


def test_only_what_should_roll_pods_or_run_anew_has_a_name_that_pulumi_chooses(case: Made) -> None:
    chosen = {c.name for c in case.kubernetes() if "name" not in c.inputs["metadata"]}
    # Clients and certificates change there while Envoy runs, and Grafana reads it anew.
    steady = {"team-xds", "team-dashboard"}
    assert chosen == {child.name for child in of(case, ("ConfigMap", "Job"))} - steady


def test_what_rolls_pods_is_never_changed_in_place(case: Made) -> None:
    # With kubernetes:enableConfigMapMutable a mutable one would be, and roll nothing.
    for config_map in of(case, ("ConfigMap",)):
        changes_in_place = "name" in config_map.inputs["metadata"]
        assert config_map.inputs.get("immutable", False) is not changes_in_place


def test_an_image_is_official_and_pinned(case: Made) -> None:
    assert {container["image"] for container in containers(case)} <= set(PROGRAMS)


def test_probes_and_commands_run_what_the_official_image_has(case: Made) -> None:
    for container in containers(case):
        lacking = [missing(container["image"], command) for command in commands(container)]
        assert not set().union(*lacking)


def test_each_container_that_serves_has_every_probe(case: Made) -> None:
    for container in containers(case, SERVING):
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


def test_no_pod_can_talk_to_the_kubernetes_api(case: Made) -> None:
    for template in templates(case):
        assert template["spec"]["automountServiceAccountToken"] is False


def commands(value: Any) -> Iterator[list[str]]:
    """Every command in a container: its own, its probes', its hooks'."""
    if isinstance(value, dict):
        if "command" in value:
            yield value["command"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from commands(inner)


def test_a_program_that_an_image_lacks_is_found_in_a_script() -> None:
    script = "trap : TERM; while buildctl du | grep -q x; do n=$(curl x); sleep 1; done"
    assert missing("docker.io/moby/buildkit:v0.34.2", ["sh", "-c", script]) == {"curl"}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_a_preview_knows_every_object_before_anything_exists(make: Any) -> None:
    previewed = record(lambda: make(None), preview=True)
    updated = record(lambda: make(None))
    assert {r.urn for r in previewed.resources} == {r.urn for r in updated.resources}
