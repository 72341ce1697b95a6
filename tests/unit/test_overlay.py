"""The merge of a pod template with what a user lays over it."""

import copy
import json
import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pytest
from pulumi_buildkit import _api, overlay

from tests.recording import REPO


def template() -> k8s.core.v1.PodTemplateSpecArgs:
    return k8s.core.v1.PodTemplateSpecArgs(
        metadata=k8s.meta.v1.ObjectMetaArgs(labels={"app": "buildkitd"}),
        spec=k8s.core.v1.PodSpecArgs(
            host_users=False,
            security_context=k8s.core.v1.PodSecurityContextArgs(fs_group=1000),
            containers=[
                k8s.core.v1.ContainerArgs(
                    name="buildkitd",
                    image="moby/buildkit",
                    args=["--config", "/etc/buildkit/buildkitd.toml"],
                    env=[k8s.core.v1.EnvVarArgs(name="KEPT", value="1")],
                    ports=[k8s.core.v1.ContainerPortArgs(name="buildkitd", container_port=1234)],
                    liveness_probe=k8s.core.v1.ProbeArgs(
                        exec_=k8s.core.v1.ExecActionArgs(command=["buildctl"]), period_seconds=30
                    ),
                    volume_mounts=[k8s.core.v1.VolumeMountArgs(name="cache", mount_path="/cache")],
                )
            ],
            volumes=[
                k8s.core.v1.VolumeArgs(
                    name="cache", empty_dir=k8s.core.v1.EmptyDirVolumeSourceArgs(size_limit="1Gi")
                )
            ],
        ),
    )


def merged(base: Any, laid_over: dict[str, Any], root: str = overlay.POD) -> Any:
    """The merge alone: what it may do to a component is another matter (test_overlay_rules.py)."""
    return overlay._merged(base, laid_over, root)


def spec(overlay: dict[str, Any]) -> Any:
    return merged(template(), {"spec": overlay}).spec


def container(**fields: Any) -> Any:
    return spec({"containers": [{"name": "buildkitd", **fields}]}).containers[0]


def test_an_empty_overlay_changes_nothing() -> None:
    assert merged(template(), {}) == template()


def test_the_component_s_own_template_is_not_touched() -> None:
    given = template()
    merged(given, {"spec": {"hostUsers": True, "volumes": [{"name": "x", "emptyDir": {}}]}})
    assert given == template()


def test_a_map_is_merged_field_by_field() -> None:
    context = spec({"securityContext": {"supplementalGroups": [7]}}).security_context
    assert (context.fs_group, context.supplemental_groups) == (1000, [7])


def test_labels_and_annotations_join_the_component_s() -> None:
    metadata: Any = merged(
        template(), {"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}}
    ).metadata
    assert metadata.labels == {"app": "buildkitd", "team": "a"}
    assert metadata.annotations == {"note": "b"}


def test_what_the_component_does_not_set_is_taken_as_it_is() -> None:
    tolerations = [{"key": "builds", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec({"tolerations": tolerations}).tolerations == tolerations


def test_a_container_is_found_by_its_name() -> None:
    changed = container(terminationMessagePath="/dev/null")
    assert changed.image == "moby/buildkit"
    assert changed.termination_message_path == "/dev/null"


def test_a_new_container_comes_after_buildkitd() -> None:
    sidecar = {"name": "sidecar", "image": "busybox"}
    containers = spec({"containers": [sidecar]}).containers
    assert [_api.field(each, "name") for each in containers] == ["buildkitd", "sidecar"]


def test_variables_are_found_by_their_names() -> None:
    env = container(env=[{"name": "KEPT", "value": "2"}, {"name": "NEW", "value": "3"}]).env
    assert [(_api.field(e, "name"), _api.field(e, "value")) for e in env] == [
        ("KEPT", "2"),
        ("NEW", "3"),
    ]


def test_a_list_without_a_key_is_replaced() -> None:
    probe = container(livenessProbe={"exec": {"command": ["true"]}}).liveness_probe
    assert probe.exec_.command == ["true"]
    assert probe.period_seconds == 30


def test_null_takes_a_field_away() -> None:
    assert container(livenessProbe=None).liveness_probe is None
    assert spec({"securityContext": {"fsGroup": None}}).security_context.fs_group is None


def test_null_of_what_is_not_there_leaves_no_trace() -> None:
    assert spec({"affinity": {"podAffinity": None}}).affinity == {}


def test_an_item_can_be_deleted() -> None:
    assert container(env=[{"$patch": "delete", "name": "KEPT"}]).env == []


def test_a_list_with_a_key_can_be_replaced() -> None:
    env = container(env=[{"$patch": "replace"}, {"name": "NEW", "value": "3"}]).env
    assert env == [{"name": "NEW", "value": "3"}]


def test_a_map_can_be_replaced() -> None:
    context = spec({"securityContext": {"$patch": "replace", "runAsUser": 5}}).security_context
    assert context == {"runAsUser": 5}


def test_a_volume_of_another_kind_is_not_of_both_kinds() -> None:
    cache = {"name": "cache", "hostPath": {"path": "/ssd"}}
    assert spec({"volumes": [cache]}).volumes == [cache]


def test_a_volume_of_the_same_kind_is_merged() -> None:
    (cache,) = spec({"volumes": [{"name": "cache", "emptyDir": {"medium": "Memory"}}]}).volumes
    empty_dir = cache["emptyDir"]
    assert (empty_dir.size_limit, empty_dir.medium) == ("1Gi", "Memory")


def test_an_item_that_is_mentioned_twice_is_merged_twice() -> None:
    env = [{"name": "NEW", "value": "1"}, {"name": "NEW", "value": "2"}]
    assert container(env=env).env[1:] == [{"name": "NEW", "value": "2"}]


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^pod\.spec\.hostuser is no field in Kubernetes$"):
        spec({"hostuser": True})


def test_an_item_without_its_key_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^pod\.spec\.containers\[buildkitd\]\.env: .* its name$"):
        container(env=[{"value": "3"}])


def test_the_overlay_is_not_touched() -> None:
    overlay = {"spec": {"containers": [{"name": "sidecar", "image": "a", "env": []}]}}
    before = copy.deepcopy(overlay)
    again = {"spec": {"containers": [{"name": "sidecar", "tty": True}]}}
    merged(merged(template(), overlay), again)
    assert overlay == before


def test_required_terms_of_anti_affinity_join_the_component_s() -> None:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    own = k8s.core.v1.PodAffinityTermArgs(topology_key="kubernetes.io/os")
    apart = k8s.core.v1.PodAntiAffinityArgs(
        required_during_scheduling_ignored_during_execution=[own]
    )
    base = k8s.core.v1.PodSpecArgs(
        containers=[], affinity=k8s.core.v1.AffinityArgs(pod_anti_affinity=apart)
    )
    term = {"topologyKey": "kubernetes.io/hostname"}
    affinity = merged(base, {"affinity": {"podAntiAffinity": {required: [term]}}}).affinity
    assert affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution == [
        own,
        term,
    ]


def test_a_service_s_ports_are_found_by_their_numbers() -> None:
    own = k8s.core.v1.ServicePortArgs(port=1234, target_port="clients")
    base = k8s.core.v1.ServiceInitArgs(spec=k8s.core.v1.ServiceSpecArgs(ports=[own]))
    more = [{"port": 1234, "name": "builds"}, {"port": 443, "name": "https"}]
    (named, added) = merged(base, {"spec": {"ports": more}}, overlay.SERVICE).spec.ports
    assert (named.target_port, named.name) == ("clients", "builds")
    assert added == more[1]


POD_TEMPLATE = "io.k8s.api.core.v1.PodTemplateSpec"
SERVICE = "io.k8s.api.core.v1.ServiceSpec"


@cache
def definitions() -> dict[str, Any]:
    """Kubernetes' own description of its API, from the module that the lab's node is built from."""
    result = subprocess.run(
        ["go", "mod", "download", "-json", "k8s.io/kubernetes"],
        cwd=REPO / "lab" / "tools" / "kubernetes",
        env={**os.environ, "GOWORK": "off"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    module = Path(json.loads(result.stdout)["Dir"])
    return json.loads((module / "api" / "openapi-spec" / "swagger.json").read_text())["definitions"]


@cache
def within(name: str = POD_TEMPLATE) -> dict[str, dict[str, Any]]:
    """The definition *name* and all that it consists of."""
    found: dict[str, dict[str, Any]] = {}
    waiting = [name]
    while waiting:
        definition = definitions()[name := waiting.pop()]
        if name not in found and "properties" in definition:
            found[name] = definition["properties"]
            waiting += references(definition["properties"])
    return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference.removeprefix("#/definitions/")
        for inner in value.values():
            yield from references(inner)


def lists() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, properties in within().items():
        # Of a pod's metadata only two maps can be set.
        if not name.endswith(".ObjectMeta"):
            yield from ((f, p) for f, p in properties.items() if p.get("type") == "array")


def test_lists_are_merged_by_the_keys_that_kubernetes_gives_them() -> None:
    assert {(field, p.get("x-kubernetes-patch-merge-key")) for field, p in lists()} == {
        (field, overlay.MERGE_KEYS.get(field)) for field, _ in lists()
    }
    assert set(overlay.MERGE_KEYS) <= {field for field, _ in lists()}


def test_lists_are_exclusive_where_kubernetes_says_so() -> None:
    assert {
        field for field, p in lists() if "retainKeys" in p.get("x-kubernetes-patch-strategy", "")
    } == overlay.EXCLUSIVE


def test_lists_of_services_are_merged_by_the_keys_that_kubernetes_gives_them() -> None:
    assert {
        (field, p.get("x-kubernetes-patch-merge-key"))
        for field, p in within(SERVICE)["io.k8s.api.core.v1.ServiceSpec"].items()
        if p.get("type") == "array"
    } == {
        (field, overlay.merge_key(overlay.SERVICE, field))
        for field, p in within(SERVICE)["io.k8s.api.core.v1.ServiceSpec"].items()
        if p.get("type") == "array"
    }


def test_every_field_in_kubernetes_has_an_attribute() -> None:
    checked = 0
    for name, properties in within().items():
        *_, package, _version, kind = name.split(".")
        module = {"core": k8s.core.v1, "meta": k8s.meta.v1}[package]
        attributes = _api.attributes(getattr(module, f"{kind}Args"))
        assert len(set(attributes.values())) == len(attributes), kind
        assert {field.lower() for field in properties} <= set(attributes), kind
        checked += len(properties)
    assert checked > 500


def test_nothing_but_pulumi_s_input_types_has_attributes_to_set() -> None:
    for cls in (str, int, float, bool, type(None), list, dict, pulumi.Output):
        assert not _api.attributes(cls)
