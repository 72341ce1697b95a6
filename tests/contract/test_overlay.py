"""The overlay of a pod, in every component that runs buildkitd, as the API server gets it."""

import re
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pytest
from pulumi.runtime import rpc
from pulumi_buildkit import (
    BuildkitDeployment,
    BuildkitJob,
    BuildkitPod,
    BuildkitStatefulSet,
    Security,
    default_image,
)
from pulumi_buildkit.daemon import DaemonArgs

from tests.contract.test_provider import provider
from tests.recording import Recording, record

Make = Callable[[DaemonArgs], pulumi.ComponentResource]

# The kind that has the template, and its component with a daemon.
COMPONENTS: dict[str, Make] = {
    "Pod": lambda daemon: BuildkitPod("team", {"namespace": "build", "daemon": daemon}),
    "Deployment": lambda daemon: BuildkitDeployment(
        "team", {"namespace": "build", "certificates": "certs", "daemon": daemon}
    ),
    "StatefulSet": lambda daemon: BuildkitStatefulSet(
        "team", {"namespace": "build", "daemon": daemon}
    ),
    "Job": lambda daemon: BuildkitJob(
        "team",
        {
            "namespace": "build",
            "daemon": daemon,
            "build": {"context": "https://git.example.com/app.git"},
        },
    ),
}
EACH = pytest.mark.parametrize("kind", COMPONENTS)


def made(kind: str, overlay: Callable[[], dict[str, Any]], preview: bool = False) -> Recording:
    return record(lambda: COMPONENTS[kind]({"pod": overlay()}), preview=preview)


def template(recording: Recording, kind: str) -> dict[str, Any]:
    inputs = recording.one(kind, "team").inputs
    return inputs if kind == "Pod" else inputs["spec"]["template"]


def laid_over(kind: str, overlay: dict[str, Any]) -> dict[str, Any]:
    return template(made(kind, lambda: overlay), kind)


@EACH
def test_an_overlay_adds_to_what_is_there(kind: str) -> None:
    before = laid_over(kind, {})["spec"]
    after = laid_over(
        kind,
        {
            "spec": {
                "priorityClassName": "builds",
                "tolerations": [{"key": "builds", "operator": "Exists"}],
                "containers": [
                    {"name": "buildkitd", "env": [{"name": "HTTPS_PROXY", "value": "proxy:3128"}]}
                ],
            }
        },
    )["spec"]
    (container,) = after["containers"]
    assert container.pop("env")[-1] == {"name": "HTTPS_PROXY", "value": "proxy:3128"}
    assert after.pop("priorityClassName") == "builds"
    assert after.pop("tolerations") == [{"key": "builds", "operator": "Exists"}]
    before["containers"][0].pop("env", None)
    assert after == before


@EACH
def test_labels_and_annotations_are_the_pod_s(kind: str) -> None:
    metadata = {"labels": {"cost_center": "7"}, "annotations": {"example.com/team": "a"}}
    before = laid_over(kind, {})["metadata"]
    after = laid_over(kind, {"metadata": metadata})["metadata"]
    assert after["labels"] == {**before["labels"], "cost_center": "7"}
    assert after["annotations"] == {**before.get("annotations", {}), "example.com/team": "a"}


@EACH
def test_names_of_the_user_s_are_not_taken_for_pulumi_s(kind: str) -> None:
    # Pulumi translates names of its own, as node_name; keys of a map are nobody's but the user's.
    names = {"node_name": "a", "api_version": "b", "nodeName": "c"}
    spec = laid_over(
        kind,
        {
            "spec": {
                "nodeSelector": names,
                "affinity": {
                    "podAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [
                            {"topologyKey": "zone", "labelSelector": {"matchLabels": names}}
                        ]
                    }
                },
            }
        },
    )["spec"]
    assert spec["nodeSelector"] == names
    (term,) = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term == {"topologyKey": "zone", "labelSelector": {"matchLabels": names}}


@EACH
def test_outputs_stay_outputs(kind: str) -> None:
    def overlay() -> dict[str, Any]:
        secret = pulumi.Output.secret("proxy:3128")
        return {
            "spec": {
                "serviceAccountName": pulumi.Output.from_input("builder"),
                "containers": [
                    {"name": "buildkitd", "env": [{"name": "HTTPS_PROXY", "value": secret}]}
                ],
            }
        }

    recording = made(kind, overlay)
    spec = template(recording, kind)["spec"]
    assert spec["serviceAccountName"] == "builder"
    assert spec["containers"][0]["env"][-1]["value"] == "proxy:3128"
    (path,) = recording.one(kind, "team").secrets
    assert re.search(r"spec\.containers\.0\.env\.\d+\.value$", path)


@EACH
def test_a_map_that_is_an_output_is_merged_too(kind: str) -> None:
    context = {"supplementalGroups": [5]}
    recording = made(kind, lambda: {"spec": {"securityContext": pulumi.Output.from_input(context)}})
    merged = laid_over(kind, {"spec": {"securityContext": context}})
    assert merged["spec"]["securityContext"] == {
        **laid_over(kind, {})["spec"]["securityContext"],
        **context,
    }
    assert template(recording, kind)["spec"] == merged["spec"]


@EACH
def test_a_preview_knows_all_but_what_is_not_known_yet(kind: str) -> None:
    def overlay() -> dict[str, Any]:
        made_later = k8s.core.v1.ServiceAccount("builder")
        return {"spec": {"serviceAccountName": made_later.id, "nodeSelector": {"pool": "builds"}}}

    spec = template(made(kind, overlay, preview=True), kind)["spec"]
    assert spec["serviceAccountName"] == rpc.UNKNOWN
    assert spec["nodeSelector"] == {"pool": "builds"}
    assert spec["containers"][0]["image"] == default_image(Security.ROOTLESS)


@EACH
def test_what_the_component_counts_on_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=r"^pod\.metadata\.labels\.app: the component's own"):
        laid_over(kind, {"metadata": {"labels": {"app": "other"}}})


def test_another_language_lays_over_in_the_same_names() -> None:
    inputs = {
        "namespace": "build",
        "certificates": "certs",
        "daemon": {
            "pod": {
                "spec": {
                    "nodeSelector": {"node_name": "a"},
                    "containers": [{"name": "buildkitd", "livenessProbe": {"periodSeconds": 60.0}}],
                }
            }
        },
    }
    recording = record(
        lambda: provider().construct("team", "buildkit:index:BuildkitDeployment", inputs)
    )
    spec = template(recording, "Deployment")["spec"]
    assert spec["nodeSelector"] == {"node_name": "a"}
    assert spec["containers"][0]["livenessProbe"]["periodSeconds"] == 60
    assert "exec" in spec["containers"][0]["livenessProbe"]
