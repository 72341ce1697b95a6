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
    Gateway,
    NodePreflight,
    Security,
    UserNamespaces,
    default_image,
)
from pulumi_buildkit.daemon import DaemonArgs

from tests.contract.test_provider import provider
from tests.golden.schema import validate
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
LINUX = {"kubernetes.io/os": "linux"}
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
    assert spec["nodeSelector"] == {**LINUX, **names}
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
    assert spec["nodeSelector"] == {**LINUX, "pool": "builds"}
    assert spec["containers"][0]["image"] == default_image(Security.ROOTLESS)


@EACH
def test_what_the_component_counts_on_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=r"^pod\.metadata\.labels\.app: 'other': is invalid: "):
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
    assert spec["nodeSelector"] == {**LINUX, "node_name": "a"}
    assert spec["containers"][0]["livenessProbe"]["periodSeconds"] == 60
    assert "exec" in spec["containers"][0]["livenessProbe"]


# Every pod that is made

OVERLAY: dict[str, Any] = {
    "metadata": {"labels": {"team": "a"}, "annotations": {"example.com/team": "a"}},
    "spec": {
        "nodeSelector": {"pool": "builds"},
        "tolerations": [{"key": "builds", "operator": "Exists", "effect": "NoSchedule"}],
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "builds",
        "serviceAccountName": "builder",
        "securityContext": {"fsGroup": None, "supplementalGroups": [7]},
    },
}


def gateway(**overlays: Any) -> Recording:
    args: Any = {
        "namespace": "build",
        "upstream_host": "buildkitd.build.svc",
        "upstream_secret": "internal",
        "server_secret": "edge",
        "clients": {"dev": {}},
        **overlays,
    }
    return record(lambda: Gateway("team", args))


def templates(overlay: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The template of every kind of pod, with the same *overlay*."""
    claim: Any = {"namespace": "build", "certificates": "certs", "volume": {"kind": "claim"}}
    args: Any = {"namespace": "build", "pod": overlay}
    daemon: DaemonArgs = {"pod": overlay, "metrics": {}}

    def probe(node: str | None) -> Recording:
        of: Any = {"namespace": "build", "daemon": daemon, "nodes": {"amd64": node} if node else {}}
        return record(lambda: NodePreflight("probe", of))

    claim["daemon"] = daemon
    shared = record(lambda: BuildkitDeployment("team", claim))
    namespaces = record(lambda: UserNamespaces("team", args))
    made = {
        "buildkitd": shared.one("Deployment").inputs["spec"]["template"],
        "trial": shared.one("Job").inputs["spec"]["template"],
        "preflight": probe(None).one("Job").inputs["spec"]["template"],
        "preflight of a node": probe("node-1").one("Job").inputs["spec"]["template"],
        "gateway": gateway(pod=overlay).one("Deployment").inputs["spec"]["template"],
        "user namespaces": namespaces.one("DaemonSet").inputs["spec"]["template"],
    }
    return made | {f"buildkitd of a {kind}": laid_over(kind, overlay) for kind in COMPONENTS}


def test_every_pod_runs_on_linux_by_default() -> None:
    assert [t["spec"].get("nodeSelector") for t in templates({}).values()] == [LINUX] * 10


def test_every_pod_takes_the_same_overlay() -> None:
    for what, template in templates(OVERLAY).items():
        spec = template["spec"]
        assert spec["nodeSelector"] == {**LINUX, "pool": "builds"}, what
        for field in ("tolerations", "imagePullSecrets", "priorityClassName", "serviceAccountName"):
            assert spec[field] == OVERLAY["spec"][field], what
        assert "fsGroup" not in spec["securityContext"], what
        assert spec["securityContext"]["supplementalGroups"] == [7], what
        assert template["metadata"]["labels"]["team"] == "a", what
        assert template["metadata"]["annotations"]["example.com/team"] == "a", what


def test_null_lets_every_pod_run_on_any_system() -> None:
    anywhere = {"spec": {"nodeSelector": {"kubernetes.io/os": None}}}
    for what, template in templates(anywhere).items():
        assert not template["spec"].get("nodeSelector"), what


def test_a_gateway_without_a_fixed_user_leaves_it_to_the_cluster() -> None:
    # OpenShift gives each namespace users of its own, and refuses others.
    none = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"))
    made = gateway(pod={"spec": {"securityContext": none}}).one("Deployment").inputs
    validate(made)
    spec = made["spec"]["template"]["spec"]
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert "runAsUser" not in spec["containers"][0]["securityContext"]


def test_the_metrics_sidecar_without_a_fixed_user_needs_no_image_in_a_trial() -> None:
    sidecar = {"name": "metrics", "securityContext": {"runAsUser": None}}
    args: Any = {
        "namespace": "build",
        "certificates": "certs",
        "volume": {"kind": "claim"},
        "daemon": {"metrics": {}, "pod": {"spec": {"initContainers": [sidecar]}}},
    }
    made = record(lambda: BuildkitDeployment("team", args))
    (after,) = made.one("Deployment").inputs["spec"]["template"]["spec"]["initContainers"]
    assert "runAsUser" not in after["securityContext"]
    assert after["image"]
    assert not made.one("Job").inputs["spec"]["template"]["spec"].get("initContainers")


def test_a_term_of_anti_affinity_joins_the_one_that_keeps_claims_apart() -> None:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}
    overlay = {"spec": {"affinity": {"podAntiAffinity": {required: [term]}}}}
    own, added = templates(overlay)["buildkitd"]["spec"]["affinity"]["podAntiAffinity"][required]
    assert own["labelSelector"]["matchLabels"] == {"app": "team", "buildkit/cache": "claim"}
    assert added == term


def services(overlay: dict[str, Any]) -> list[dict[str, Any]]:
    args: Any = {"namespace": "build", "certificates": "c", "daemon": {"service_overlay": overlay}}
    workloads = record(lambda: BuildkitStatefulSet("team", args))
    of_gateway = gateway(service_overlay=overlay, annotations={"cloud": "lb"})
    return [made.inputs for r in (workloads, of_gateway) for made in r.of("Service")]


def test_every_service_takes_an_overlay() -> None:
    overlay = {
        "metadata": {"labels": {"team": "a"}, "annotations": {"example.com/team": "a"}},
        "spec": {"ipFamilyPolicy": "PreferDualStack"},
    }
    after, before = services(overlay), services({})
    assert len(after) == 3
    for service, plain in zip(after, before, strict=True):
        validate(service)
        assert service["spec"] == {**plain["spec"], "ipFamilyPolicy": "PreferDualStack"}
        for field in ("labels", "annotations"):
            own, more = plain["metadata"][field], overlay["metadata"][field]
            assert service["metadata"][field] == {**own, **more}


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (
            lambda: gateway(pod={"spec": {"terminationGracePeriodSeconds": 30}}),
            "pod.spec.terminationGracePeriodSeconds: 30: is invalid: expected 1830 or more",
        ),
        (
            lambda: gateway(service_overlay={"spec": {"type": "NodePort"}}),
            "service.spec.type: 'NodePort': is invalid: ",
        ),
        (
            lambda: services({"spec": {"publishNotReadyAddresses": True}}),
            "service.spec.publishNotReadyAddresses: True: is invalid: expected false",
        ),
        (
            lambda: templates({"spec": {"nodeName": "node-1"}}),
            "pod.spec.nodeName: 'node-1': is invalid: ",
        ),
        (
            lambda: laid_over("Pod", {"metadata": {"name": "other"}}),
            "pod.metadata.name: 'other': is invalid: expected team",
        ),
        (
            lambda: laid_over("Deployment", {"spec": {"shareProcessNamespace": True}}),
            "pod.spec.shareProcessNamespace: True: is invalid: ",
        ),
    ],
)
def test_a_broken_promise_is_an_exception(make: Callable[[], object], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(line)}"):
        make()


def test_what_an_output_holds_can_not_undo_a_promise() -> None:
    with pytest.raises(ValueError, match=r"^pod\.spec\.hostPID: is invalid: "):
        made("Deployment", lambda: {"spec": {"hostPID": pulumi.Output.from_input(True)}})
