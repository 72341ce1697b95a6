"""The lab's own provider servers: the rules that need no cluster."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from lab.providers import PACKAGES, install
from lab.providers.kubernetes.api import ApiError, Cluster, Kubeconfig, Resource
from lab.providers.kubernetes.objects import (
    AUTONAMED,
    compare,
    format_path,
    keep_ignored,
    managers,
    mark_secrets,
    normalize,
    parse_path,
    prune,
    take_over,
)
from lab.providers.kubernetes.provider import Kubernetes
from lab.providers.kubernetes.readiness import _RULES, await_ready, check_ready
from lab.providers.kubernetes.rules import plural, replacing
from lab.providers.random import Random
from lab.providers.server import Change, CheckFailed, NotReady, Operation, Provider, ResourceError
from lab.providers.stubs import provider_pb2, provider_pb2_grpc, status_pb2
from lab.providers.tls import Tls
from lab.providers.values import UNKNOWN, Secret, decode, encode, has_unknown, plain

KUBECONFIG = """
current-context: a
contexts:
- {name: a, context: {cluster: one, user: me, namespace: team}}
- {name: b, context: {cluster: two, user: me}}
clusters:
- {name: one, cluster: {server: "https://one"}}
- {name: two, cluster: {server: "https://two"}}
users:
- {name: me, user: {token: t}}
"""


def op(token: str, name: str = "web", **more: Any) -> Operation:
    return Operation(urn=f"urn:pulumi:dev::buildkit::{token}::{name}", **more)


def kubernetes(**config: Any) -> Kubernetes:
    provider = Kubernetes()
    provider.configure({"kubeconfig": KUBECONFIG, **config})
    return provider


# Values


def test_values_keep_secrets_and_unknowns_through_the_wire() -> None:
    values = {"a": Secret({"b": [1, 2.5, True, "x"]}), "u": UNKNOWN, "l": [UNKNOWN, Secret("s")]}
    assert decode(encode(values)) == values
    assert has_unknown(values) and plain(values)["a"] == {"b": [1, 2.5, True, "x"]}


def test_whole_numbers_are_integers_as_kubernetes_wants_them() -> None:
    assert isinstance(decode(encode({"replicas": 3.0}))["replicas"], int)


# Names


DEPLOYMENT = "kubernetes:apps/v1:Deployment"


def test_an_object_without_a_name_gets_one_that_stays() -> None:
    provider = kubernetes()
    first = provider.check(op(DEPLOYMENT, random_seed=b"1"), {}, {"spec": {"replicas": 1}})
    name = first["metadata"]["name"]
    assert name.startswith("web-") and len(name) == len("web-") + 8
    assert first["metadata"]["annotations"] == {AUTONAMED: "true"}
    again = provider.check(op(DEPLOYMENT, random_seed=b"2"), first, {"spec": {"replicas": 2}})
    assert again["metadata"]["name"] == name


def test_a_name_that_was_taken_away_is_not_kept() -> None:
    old = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "by-hand"}}
    news = kubernetes().check(op(DEPLOYMENT, random_seed=b"1"), old, {})
    assert news["metadata"]["name"] != "by-hand"


def test_the_namespace_is_the_objects_the_providers_or_the_contexts() -> None:
    def namespace(provider: Kubernetes, token: str, **metadata: str) -> str | None:
        return provider.check(op(token), {}, {"metadata": metadata})["metadata"].get("namespace")

    assert namespace(kubernetes(), DEPLOYMENT) == "team"
    assert namespace(kubernetes(context="b"), DEPLOYMENT) == "default"
    assert namespace(kubernetes(namespace="own"), DEPLOYMENT) == "own"
    assert namespace(kubernetes(namespace="own"), DEPLOYMENT, namespace="it") == "it"
    assert namespace(kubernetes(namespace="own"), "kubernetes:core/v1:Namespace") is None


def test_a_secrets_text_becomes_data_and_stays_secret() -> None:
    token = "kubernetes:core/v1:Secret"
    inputs = kubernetes().check(op(token), {}, {"stringData": {"k": Secret("v")}})
    assert inputs["data"] == Secret({"k": "dg=="}) and "stringData" not in inputs


def test_the_rest_of_the_state_is_as_secret_as_its_inputs() -> None:
    live = {"kind": "Pod", "spec": {"a": "s", "l": ["x", "s"], "c": "open"}}
    inputs = {"spec": {"a": Secret("s"), "l": ["x", Secret("s")], "c": "open"}}
    marked = mark_secrets(live, inputs)
    assert marked["spec"] == {"a": Secret("s"), "l": Secret(["x", "s"]), "c": "open"}


# Differences


def state(inputs: dict[str, Any], **live: Any) -> dict[str, Any]:
    return {**inputs, **live, "__inputs": inputs, "__fieldManager": "pulumi-kubernetes-0"}


def obj(kind: str, name: str = "n", api: str = "v1", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team"}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **fields}


@pytest.mark.parametrize(
    ("old", "new", "replaces"),
    [
        (obj("ConfigMap", data={"a": "1"}), obj("ConfigMap", data={"a": "2"}), ["data.a"]),
        (obj("Secret", data={"a": "1"}), obj("Secret", data={"a": "2"}), ["data.a"]),
        (obj("Secret", type="Opaque"), obj("Secret", type="x"), ["type"]),
        (
            obj("Deployment", api="apps/v1", spec={"selector": {"matchLabels": {"a": "1"}}}),
            obj("Deployment", api="apps/v1", spec={"selector": {"matchLabels": {"a": "2"}}}),
            ["spec.selector.matchLabels.a"],
        ),
        (
            obj("Deployment", api="apps/v1", spec={"replicas": 1}),
            obj("Deployment", api="apps/v1", spec={"replicas": 2}),
            [],
        ),
        (
            obj("StatefulSet", api="apps/v1", spec={"volumeClaimTemplates": [{"a": 1}]}),
            obj("StatefulSet", api="apps/v1", spec={"volumeClaimTemplates": [{"a": 2}]}),
            ["spec.volumeClaimTemplates[0].a"],
        ),
        (
            obj("Job", api="batch/v1", spec={"template": {"spec": {"x": 1}}}),
            obj("Job", api="batch/v1", spec={"template": {"spec": {"x": 2}}}),
            ["spec.template.spec.x"],
        ),
        (
            obj("Pod", spec={"containers": [{"image": "a"}]}),
            obj("Pod", spec={"containers": [{"image": "b"}]}),
            ["spec.containers[0].image"],
        ),
        (
            obj("Pod", spec={"containers": [{"image": "a"}]}),
            obj("Pod", spec={"containers": [{"image": "a"}, {"image": "b"}]}),
            ["spec.containers[1]"],
        ),
        (
            obj("Pod", spec={"containers": [{"image": "a"}, {"image": "b"}]}),
            obj("Pod", spec={"containers": [{"image": "a"}]}),
            [],
        ),
        (
            obj("Pod", spec={"securityContext": {"runAsUser": 1}}),
            obj("Pod", spec={}),
            ["spec.securityContext"],
        ),
        (obj("Pod", spec={}), obj("Pod", spec={"hostUsers": False}), []),
        (
            obj("Pod", spec={"terminationGracePeriodSeconds": 1}),
            obj("Pod", spec={"terminationGracePeriodSeconds": 2}),
            ["spec.terminationGracePeriodSeconds"],
        ),
        (
            obj("DaemonSet", api="apps/v1", spec={"selector": {"matchLabels": {"a": "1"}}}),
            obj("DaemonSet", api="apps/v1", spec={"selector": {"matchLabels": {"a": "2"}}}),
            ["spec.selector.matchLabels.a"],
        ),
        (
            obj("Job", api="batch/v1", spec={"backoffLimit": 1, "activeDeadlineSeconds": 1}),
            obj("Job", api="batch/v1", spec={"backoffLimit": 2, "activeDeadlineSeconds": 2}),
            [],
        ),
        (
            obj("PodDisruptionBudget", api="policy/v1", spec={"selector": {"matchLabels": {}}}),
            obj(
                "PodDisruptionBudget",
                api="policy/v1",
                spec={"selector": {"matchLabels": {"a": ""}}},
            ),
            [],
        ),
        (
            obj("PersistentVolumeClaim", spec={"storageClassName": "a"}),
            obj("PersistentVolumeClaim", spec={"storageClassName": "b"}),
            ["spec.storageClassName"],
        ),
        (
            obj("PersistentVolumeClaim", spec={"resources": {"requests": {"storage": "1Gi"}}}),
            obj("PersistentVolumeClaim", spec={"resources": {"requests": {"storage": "2Gi"}}}),
            [],
        ),
        (
            obj("Service", spec={"ports": []}),
            obj("Service", spec={"clusterIP": "None"}),
            ["spec.clusterIP"],
        ),
        (obj("Service", "a"), obj("Service", "b"), ["metadata.name"]),
        (obj("Service"), obj("Service", spec={"clusterIP": "None"}), ["spec"]),
    ],
)
def test_what_kubernetes_cannot_change_is_replaced(
    old: dict[str, Any], new: dict[str, Any], replaces: list[str]
) -> None:
    diff = kubernetes().diff(op("kubernetes:x:X"), old, state(old), new, [])
    assert diff.changes and diff.replaces == replaces
    same_name = old["metadata"]["name"] == new["metadata"]["name"]
    assert diff.delete_before_replace == (bool(replaces) and same_name)


def test_an_autonamed_object_is_replaced_before_the_old_one_goes() -> None:
    old, new = obj("ConfigMap", data={"a": "1"}), obj("ConfigMap", data={"a": "2"})
    new["metadata"]["annotations"] = old["metadata"]["annotations"] = {AUTONAMED: "true"}
    diff = kubernetes().diff(op("x:y:z"), old, state(old), new, [])
    assert diff.replaces and not diff.delete_before_replace


def test_a_mutable_secret_changes_in_place_unless_it_is_immutable() -> None:
    old, new = obj("Secret", data={"a": "1"}), obj("Secret", data={"a": "2"})
    provider = kubernetes(enableSecretMutable="true")
    assert not provider.diff(op("x:y:z"), old, state(old), new, []).replaces
    new["immutable"] = True
    assert provider.diff(op("x:y:z"), old, state(old), new, []).replaces == ["data.a"]


@pytest.mark.parametrize(
    ("inputs", "live"),
    [
        ({"spec": {"a": 1}}, {"spec": {"a": 1, "default": 2}, "status": {"x": 1}}),
        ({"resources": {"requests": {"cpu": "0.5"}}}, {"resources": {"requests": {"cpu": "500m"}}}),
        (
            {"resources": {"limits": {"memory": "1024Mi"}}},
            {"resources": {"limits": {"memory": "1Gi"}}},
        ),
        ({"env": [{"name": "E", "value": ""}]}, {"env": [{"name": "E"}]}),
        ({"hostNetwork": False, "subjects": []}, {}),
        ({"mounts": [{"a": 1}]}, {"mounts": [{"a": 1}, {"injected": 1}]}),
    ],
)
def test_what_the_server_fills_in_or_rewrites_is_no_change(inputs: Any, live: Any) -> None:
    assert not compare(inputs, live, inputs, []).changes
    refreshed = prune(live, inputs, live)
    assert not compare(inputs, live, refreshed, []).changes


def test_each_kind_of_change_has_its_path() -> None:
    old = {"a": 1, "b": {"c.d": 1}, "e": [1, 2]}
    diff = compare({"b": {"c.d": 2}, "e": [1, 2, 3]}, old, old, [])
    assert diff.changes == {"a": Change.DELETE, 'b["c.d"]': Change.UPDATE, "e[2]": Change.ADD}


def test_a_value_added_by_hand_shows_only_where_the_program_sets_it() -> None:
    inputs = {"data": {"a": "1"}}
    assert not compare(inputs, {"data": {"a": "1", "b": "2"}}, inputs, []).changes
    assert compare(inputs, {"data": {"a": "9"}}, inputs, []).changes == {"data.a": Change.UPDATE}


def test_a_newly_set_false_is_a_change() -> None:
    assert compare({"hostUsers": False}, {}, {}, []).changes == {"hostUsers": Change.ADD}


def test_an_ignored_field_is_not_compared_and_left_to_its_owner() -> None:
    inputs, live = {"spec": {"replicas": 1, "x": 1}}, {"spec": {"replicas": 5, "x": 1}}
    assert not compare(inputs, live, inputs, [], ["spec.replicas"]).changes
    fields = {"f:spec": {"f:replicas": {}}}
    entry = {"manager": "hpa", "operation": "Update", "fieldsV1": fields}
    theirs = keep_ignored(inputs, live, managers([entry], "us"), ["spec.replicas"])
    assert theirs == {"spec": {"x": 1}}
    mine = {"manager": "us", "operation": "Apply", "fieldsV1": fields}
    ours = keep_ignored(inputs, live, managers([entry, mine], "us"), ["spec.replicas"])
    assert ours == live


def test_ownership_of_what_was_created_and_of_kubectls_edits_is_taken_over() -> None:
    def entry(manager: str, operation: str, field: str, **more: str) -> dict[str, Any]:
        return {"manager": manager, "operation": operation, "fieldsV1": {field: {}}, **more}

    us = "pulumi-kubernetes-1"
    kept = [
        entry("kube-controller-manager", "Update", "f:status", subresource="status"),
        entry("kubectl", "Update", "f:scale", subresource="scale"),
    ]
    taken = [entry(us, "Update", "f:spec"), entry("kubectl-edit", "Update", "f:data")]
    result = take_over([*kept, *taken], us)
    assert result is not None and result[:2] == kept
    assert result[2]["fieldsV1"] == {"f:spec": {}, "f:data": {}}
    assert (result[2]["manager"], result[2]["operation"]) == (us, "Apply")
    assert take_over(result, us) is None


@pytest.mark.parametrize("path", ["spec.replicas", 'metadata.labels["a.b/c"].x', "a[0].b[12]"])
def test_paths_are_written_as_pulumi_writes_them(path: str) -> None:
    assert format_path(parse_path(path)) == path


# Kinds and configuration


def test_kinds_are_found_where_the_api_serves_them() -> None:
    names = ["Pod", "NetworkPolicy", "Ingress", "StorageClass", "Endpoints"]
    assert [plural(name) for name in names] == [
        "pods",
        "networkpolicies",
        "ingresses",
        "storageclasses",
        "endpoints",
    ]
    assert Resource("/api/v1", "pods", True).path("n", "x") == "/api/v1/namespaces/n/pods/x"
    assert ("spec", "template") in replacing("batch", "Job", False)


def test_another_cluster_replaces_the_provider_and_another_option_does_not() -> None:
    provider, old = Kubernetes(), {"kubeconfig": KUBECONFIG}
    assert provider.diff_config(old, {**old, "context": "b"}).replaces == ["context"]
    assert not provider.diff_config(old, {**old, "namespace": "x"}).replaces


def test_a_missing_kubeconfig_or_context_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"no kubeconfig.*missing"):
        Kubeconfig.load(str(tmp_path / "missing"))
    with pytest.raises(ResourceError, match="no cluster for its context 'c'"):
        Kubeconfig.load(KUBECONFIG, "c")


# Readiness


class FakeCluster:
    """What each look finds in the cluster, a look ending with the pods; the last finds the rest."""

    def __init__(self, *looks: list[dict[str, Any]]) -> None:
        self._looks = list(looks) or [[]]
        self.refusal: ApiError | None = None

    def get(self, kind: tuple[str, str], namespace: str, name: str) -> dict[str, Any]:
        for item in self._looks[0]:
            if (item["kind"], item["metadata"]["name"]) == (kind[1], name):
                return item
        raise ApiError(404, f'"{name}" not found'.encode())

    def list(self, kind: tuple[str, str], *_: Any) -> list[dict[str, Any]]:
        found = [item for item in self._looks[0] if item["kind"] == kind[1]]
        if kind[1] == "Pod" and len(self._looks) > 1:
            self._looks.pop(0)
        return found

    def resource(self, api_version: str, kind: str) -> Resource:
        return Resource(f"/apis/{api_version}", kind, namespaced=True)

    def request(self, method: str, path: str, *_: Any, **__: Any) -> dict[str, Any]:
        if method != "GET" and self.refusal:
            raise self.refusal
        kind, name = path.split("/")[-2:]
        return self.get(("", kind), "", name)


def fake(*looks: list[dict[str, Any]]) -> Any:
    cluster: Cluster = FakeCluster(*looks)  # type: ignore[assignment]
    return cluster


def true(*kinds: str) -> list[dict[str, str]]:
    return [{"type": kind, "status": "True"} for kind in kinds]


SCHEDULED = true("PodScheduled", "Initialized")


@pytest.mark.parametrize(
    ("kind", "spec", "status", "ready"),
    [
        ("v1/Service", {"clusterIP": "None", "selector": {"a": "b"}}, {}, True),
        ("v1/Service", {"selector": {"a": "b"}}, {}, False),
        ("v1/Service", {}, {}, True),
        ("v1/Pod", {}, {"phase": "Succeeded", "conditions": SCHEDULED}, True),
        ("v1/Pod", {}, {"phase": "Running", "conditions": SCHEDULED}, False),
        ("v1/Pod", {}, {"phase": "Running", "conditions": [*SCHEDULED, *true("Ready")]}, True),
        ("v1/Pod", {}, {"phase": "Pending"}, False),
        ("v1/PersistentVolumeClaim", {}, {"phase": "Bound"}, True),
        ("v1/PersistentVolumeClaim", {}, {"phase": "Pending"}, False),
        ("v1/PersistentVolumeClaim", {"storageClassName": "late"}, {"phase": "Pending"}, True),
        ("v1/PersistentVolumeClaim", {"storageClassName": "soon"}, {"phase": "Pending"}, False),
        ("batch/v1/Job", {}, {"startTime": "now", "conditions": true("Complete")}, True),
        ("batch/v1/Job", {}, {"startTime": "now"}, False),
        ("apps/v1/StatefulSet", {"replicas": 0}, {"observedGeneration": 1, "replicas": 0}, False),
        (
            "apps/v1/DaemonSet",
            {},
            {
                "observedGeneration": 1,
                "desiredNumberScheduled": 1,
                "currentNumberScheduled": 1,
                "updatedNumberScheduled": 1,
            },
            False,
        ),
    ],
)
def test_readiness_follows_the_documented_rules(
    kind: str, spec: dict[str, Any], status: dict[str, Any], ready: bool
) -> None:
    classes = [
        obj("StorageClass", name, volumeBindingMode=mode)
        for name, mode in (("late", "WaitForFirstConsumer"), ("soon", "Immediate"))
    ]
    metadata = {"name": "n", "namespace": "team", "generation": 1, "uid": "u"}
    found = _RULES[kind](fake(classes), {"metadata": metadata, "spec": spec, "status": status})
    assert (not found.missing) == ready


PROGRESSING = [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}]


@pytest.mark.parametrize(
    ("revision", "conditions", "ready", "said"),
    [
        ("1", [], 0, "Minimum number of live Pods was not attained"),
        ("1", true("Available"), 0, "Minimum number of Pods to consider the application live"),
        ("1", true("Available"), 1, ""),
        ("2", [*true("Available"), *PROGRESSING], 1, "Minimum number of Pods to consider"),
    ],
)
def test_a_deployment_says_what_its_rollout_lacks(
    revision: str, conditions: list[Any], ready: int, said: str
) -> None:
    status = {"observedGeneration": 1, "conditions": conditions}
    spec = {"template": {"spec": {}}}
    deployment = obj("Deployment", api="apps/v1", spec=spec, status=status)
    deployment["metadata"] |= {"generation": 1, "uid": "u"}
    replica_set = obj("ReplicaSet", spec={}, status={"readyReplicas": ready})
    replica_set["metadata"]["ownerReferences"] = [{"uid": "u"}]
    for each in (deployment, replica_set):
        each["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": revision}
    missing = _RULES["apps/v1/Deployment"](fake([replica_set]), deployment).missing
    assert bool(missing) == bool(said)
    assert said in "".join(missing)


def pod(*containers: dict[str, Any], untrue: str = "Ready", message: str = "") -> dict[str, Any]:
    """A pod of the Job that is not ready, for the reason that the condition gives."""
    condition = {"type": untrue, "status": "False", "reason": "Because", "message": message}
    conditions = [one for one in SCHEDULED if one["type"] != untrue] + [condition]
    found = obj("Pod", "p", status={"conditions": conditions, "containerStatuses": containers})
    found["metadata"]["ownerReferences"] = [{"uid": "u"}]
    return found


def container(last: dict[str, Any] | None = None, **state: Any) -> dict[str, Any]:
    return {"name": "c", "state": state, "lastState": {"terminated": last} if last else {}}


ENDED = {"reason": "Error", "exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            pod(container(terminated={**ENDED, "message": "no such host"})),
            "[Pod team/p]: [Error] no such host",
        ),
        (
            pod(container(terminated=ENDED)),
            '[Pod team/p]: container "c" completed with exit code 1',
        ),
        (
            pod(
                container(
                    {**ENDED, "message": "bad"}, waiting={"reason": "Back", "message": "off"}
                ),
                message="unready: [c]",
            ),
            "[Pod team/p]: unready: [c][Back] off\n"
            'container "c" terminated at 2026-01-01T00:00:00Z (Error: exit code 1)\nbad',
        ),
        (
            pod(container(waiting={"reason": "ContainerCreating"}), message="unready: [c]"),
            "[Pod team/p]: unready: [c]",
        ),
        (
            pod(untrue="PodScheduled", message="Insufficient cpu"),
            'Waiting for Pod "team/p" to be scheduled',
        ),
    ],
)
def test_a_pod_that_is_not_ready_says_why_in_its_own_words(found: Any, said: str) -> None:
    with pytest.raises(NotReady, match="'p' was created but failed to initialize") as error:
        check_ready(fake(), found)
    assert error.value.reasons == [said]


def job(**status: Any) -> dict[str, Any]:
    found = obj("Job", "n", "batch/v1", spec={}, status={"startTime": "now", **status})
    found["metadata"]["uid"] = "u"
    return found


def failed(reason: str) -> list[dict[str, str]]:
    return [{"type": "Failed", "status": "True", "reason": reason, "message": "it is over"}]


def test_a_failed_job_says_what_its_pods_said_though_they_are_gone() -> None:
    ended = pod(container(terminated={**ENDED, "message": "push refused"}))
    over = job(failed=1, conditions=failed("BackoffLimitExceeded"))
    with pytest.raises(NotReady, match="'n' was created but failed to initialize") as error:
        await_ready(op("kubernetes:batch/v1:Job"), fake([job(active=1), ended], [over]), job())
    assert error.value.reasons == [
        "[BackoffLimitExceeded] it is over",
        "[Pod team/p]: [Error] push refused",
    ]


def test_a_job_that_failed_by_its_own_policy_is_waited_for() -> None:
    over = job(failed=1, conditions=failed("PodFailurePolicy"))
    with pytest.raises(NotReady, match="'n' timed out waiting to be Ready") as error:
        await_ready(op("kubernetes:batch/v1:Job", timeout=0.01), fake([over]), over)
    assert error.value.reasons == [
        'Waiting for Job "team/n" to succeed (Active: 0 | Succeeded: 0 | Failed: 1)'
    ]


def test_a_refresh_does_not_mind_a_claim_that_is_not_bound() -> None:
    claim = obj("PersistentVolumeClaim", spec={}, status={"phase": "Pending"})
    check_ready(fake(), claim)


CLAIM, SHRUNK = (
    obj("PersistentVolumeClaim", spec={"resources": {"requests": {"storage": size}}})
    for size in ("2Gi", "1Gi")
)


def shrink(cluster: Any, **more: Any) -> None:
    provider = kubernetes()
    provider.__dict__["_cluster"] = cluster
    operation = op("kubernetes:core/v1:PersistentVolumeClaim", **more)
    provider.update(operation, state(CLAIM), SHRUNK, [])


@pytest.mark.parametrize("preview", [True, False])
def test_what_the_api_refuses_fails_the_preview_too(preview: bool) -> None:
    cluster = fake([CLAIM])
    cluster.refusal = ApiError(422, b"field can not be less than status.capacity")
    with pytest.raises(NotReady) as error:
        shrink(cluster, preview=preview)
    assert str(error.value) == (
        'the Kubernetes API server reported that "team/n" failed to fully initialize or become'
        " live: field can not be less than status.capacity"
    )


@pytest.mark.parametrize("preview", [True, False])
def test_an_update_of_what_is_gone_says_so(preview: bool) -> None:
    with pytest.raises(ResourceError, match='"n" not found\nunable to get cluster state') as error:
        shrink(fake([]), preview=preview)
    assert not isinstance(error.value, NotReady)


# tls and random


def make(provider: Any, token: str, **inputs: Any) -> dict[str, Any]:
    checked = provider.check(op(token), {}, inputs)
    return provider.create(op(token), checked)[1]


KEY, REQUEST = "tls:index/privateKey:PrivateKey", "tls:index/certRequest:CertRequest"
SELF, LOCAL = (
    "tls:index/selfSignedCert:SelfSignedCert",
    "tls:index/locallySignedCert:LocallySignedCert",
)


def chain(algorithm: str, curve: str = "P256", **more: Any) -> tuple[dict, dict, dict]:
    key, ca_key = (make(Tls(), KEY, algorithm=algorithm, ecdsaCurve=curve) for _ in range(2))
    ca = make(
        Tls(),
        SELF,
        privateKeyPem=ca_key["privateKeyPem"],
        subject={"commonName": "ca", "organization": "o"},
        isCaCertificate=True,
        validityPeriodHours=24,
        allowedUses=["cert_signing"],
        setAuthorityKeyId=True,
    )
    request = make(
        Tls(),
        REQUEST,
        privateKeyPem=key["privateKeyPem"],
        subject={"commonName": "server"},
        dnsNames=["a.example", "*.b.example"],
        ipAddresses=["10.0.0.1"],
        uris=["spiffe://a/b"],
    )
    leaf = make(
        Tls(),
        LOCAL,
        certRequestPem=request["certRequestPem"],
        caPrivateKeyPem=ca_key["privateKeyPem"],
        caCertPem=ca["certPem"],
        validityPeriodHours=12,
        allowedUses=["server_auth", "digital_signature"],
        **more,
    )
    return key, ca, leaf


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
def test_certificates_are_what_openssl_accepts(tmp_path: Path, algorithm: str, curve: str) -> None:
    key, ca, leaf = chain(algorithm, curve)
    for name, pem in (("ca", ca["certPem"]), ("leaf", leaf["certPem"])):
        (tmp_path / name).write_text(pem)
    for form in ("privateKeyPem", "privateKeyPemPkcs8"):
        (tmp_path / "key").write_text(plain(key[form]))
        public = openssl("pkey", "-in", str(tmp_path / "key"), "-pubout")
        assert public == key["publicKeyPem"]
    strict = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(tmp_path / "ca")]
    openssl(*strict, "-verify_hostname", "x.b.example", str(tmp_path / "leaf"))
    openssl(*strict, "-verify_ip", "10.0.0.1", str(tmp_path / "leaf"))


def openssl(*args: str) -> str:
    return subprocess.run(["openssl", *args], check=True, capture_output=True, text=True).stdout


def test_private_keys_stay_secret() -> None:
    key, ca, leaf = chain("ECDSA")
    hidden = [
        *(key[name] for name in ("privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh")),
        ca["privateKeyPem"],
        leaf["caPrivateKeyPem"],
    ]
    assert all(isinstance(value, Secret) for value in hidden)
    assert (ca["keyAlgorithm"], leaf["caKeyAlgorithm"]) == ("ECDSA", "ECDSA")
    checked = Tls().check(op(REQUEST), {}, {"privateKeyPem": plain(key["privateKeyPem"])})
    assert isinstance(checked["privateKeyPem"], Secret)


def test_a_certificate_in_its_early_renewal_window_is_replaced() -> None:
    _, _, fresh = chain("ECDSA", earlyRenewalHours=1)
    inputs = {name: fresh[name] for name in ("certRequestPem", "caPrivateKeyPem", "caCertPem")}
    inputs |= {"validityPeriodHours": 12, "allowedUses": ["server_auth", "digital_signature"]}
    ok = {**inputs, "earlyRenewalHours": 1}
    assert not Tls().diff(op(LOCAL), ok, fresh, ok, []).changes
    end = datetime.now(UTC) + timedelta(minutes=59)
    old = {**fresh, "validityEndTime": end.isoformat()}
    assert Tls().diff(op(LOCAL), ok, old, ok, []).replaces == ["readyForRenewal"]
    read = Tls().read(op(LOCAL), "1", old, ok)
    assert read is not None and read[0]["readyForRenewal"] is True
    longer = {**ok, "earlyRenewalHours": 2}
    diff = Tls().diff(op(LOCAL), ok, fresh, longer, [])
    assert diff.changes and not diff.replaces


def test_a_certificate_tells_its_validity() -> None:
    _, ca, _ = chain("ECDSA")
    certificate = x509.load_pem_x509_certificate(ca["certPem"].encode())
    assert datetime.fromisoformat(ca["validityStartTime"]) == certificate.not_valid_before_utc
    assert datetime.fromisoformat(ca["validityEndTime"]) == certificate.not_valid_after_utc


def test_a_preview_knows_which_values_it_cannot_know() -> None:
    id_, outputs = Tls().create(op(KEY, preview=True), {"algorithm": "ECDSA"})
    assert not id_ and outputs["privateKeyPem"] is UNKNOWN and outputs["algorithm"] == "ECDSA"


@pytest.mark.parametrize(
    ("provider", "token", "inputs", "property_"),
    [
        (Tls, KEY, {"algorithm": "DSA"}, "algorithm"),
        (Tls, KEY, {"algorithm": "ECDSA", "ecdsaCurve": "P1"}, "ecdsaCurve"),
        (Tls, REQUEST, {}, "privateKeyPem"),
        (Random, "random:index/randomString:RandomString", {"length": 0}, "length"),
        (Random, "random:index/randomId:RandomId", {"byteLength": 0}, "byteLength"),
    ],
)
def test_wrong_inputs_are_named(provider: Any, token: str, inputs: Any, property_: str) -> None:
    with pytest.raises(CheckFailed) as failed:
        provider().check(op(token), {}, inputs)
    assert [name for name, _ in failed.value.failures] == [property_]


def test_an_unreadable_key_is_an_error_of_one_line() -> None:
    with pytest.raises(ResourceError, match="privateKeyPem can't be read as PEM") as error:
        make(Tls(), REQUEST, privateKeyPem="no")
    assert "\n" not in str(error.value)


def test_random_strings_obey_their_rules() -> None:
    token = "random:index/randomString:RandomString"
    only = {"special": False, "upper": False, "lower": False}
    assert make(Random(), token, length=9, **only)["result"].isdigit()
    ruled = make(Random(), token, length=4, minUpper=2, minSpecial=2, overrideSpecial="_")["result"]
    assert sum(c.isupper() for c in ruled) == 2 and ruled.count("_") == 2
    password = make(Random(), "random:index/randomPassword:RandomPassword", length=20)
    assert isinstance(password["result"], Secret)
    identity = make(Random(), "random:index/randomId:RandomId", byteLength=4, prefix="p-")
    assert identity["hex"].startswith("p-") and len(identity["hex"]) == 2 + 8


# The protocol


@contextmanager
def served(provider: Provider) -> Iterator[Any]:
    server = grpc.server(ThreadPoolExecutor(2))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield provider_pb2_grpc.ResourceProviderStub(channel)
    server.stop(None).wait()


def test_errors_reach_the_engine_with_what_it_must_remember() -> None:
    class Failing(Tls):
        def create(self, op: Operation, inputs: Any) -> Any:
            if inputs:
                raise NotReady("not ready", ["because"]).found("ns/x", {"a": Secret("s")})
            raise ResourceError("refused")

    with served(Failing()) as stub:
        with pytest.raises(grpc.RpcError) as refused:
            stub.Create(provider_pb2.CreateRequest(urn="u::v::t::n"))
        assert refused.value.details() == "refused"
        with pytest.raises(grpc.RpcError) as partial:
            request = provider_pb2.CreateRequest(urn="u::v::t::n", properties=encode({"a": 1}))
            stub.Create(request)
    metadata: Any = partial.value.trailing_metadata()
    [(key, value)] = metadata
    assert key == "grpc-status-details-bin"
    status = status_pb2.Status.FromString(value)
    detail = provider_pb2.ErrorResourceInitFailed()
    assert status.details[0].Unpack(detail)
    assert (detail.id, list(detail.reasons)) == ("ns/x", ["not ready", "because"])
    assert decode(detail.properties) == {"a": Secret("s")}


def test_a_check_over_the_wire_names_the_wrong_property() -> None:
    with served(Tls()) as stub:
        urn, news = op(KEY).urn, encode({"algorithm": "DSA"})
        answer = stub.Check(provider_pb2.CheckRequest(urn=urn, news=news))
    assert answer.failures[0].property == "algorithm" and "ECDSA" in answer.failures[0].reason


def test_plugins_are_found_by_their_names(tmp_path: Path) -> None:
    install(tmp_path / "bin", "/usr/bin/python3")
    for package in PACKAGES:
        wrapper = tmp_path / "bin" / f"pulumi-resource-{package}"
        assert wrapper.stat().st_mode & 0o111
        assert f"-m lab.providers.{package}" in wrapper.read_text()


def test_a_secret_without_known_text_waits_for_it() -> None:
    inputs = normalize({"kind": "Secret", "metadata": {}, "stringData": {"a": UNKNOWN}})
    assert inputs["stringData"] == {"a": UNKNOWN}
