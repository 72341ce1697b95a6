"""When an object counts as ready, kind by kind, and the waiting for it.

Each rule says what the page of its kind under
https://www.pulumi.com/registry/packages/kubernetes/api-docs/ says ("waits until its status is
ready"); kinds without a rule are ready once they exist.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

from lab.providers.kubernetes.api import ApiError, Cluster, Object, Unreachable
from lab.providers.kubernetes.objects import annotation, is_set
from lab.providers.kubernetes.rules import (
    DEFAULT_DELETED_SECONDS,
    DEFAULT_READY_SECONDS,
    DELETED_SECONDS,
    READY_SECONDS,
    SKIP_AWAITING_DELETION,
)
from lab.providers.server import INFO, WARNING, NotReady, Operation, ResourceError

# Most waits are short: look soon at first, then less often.
_POLL_SECONDS = (0.05, 0.1, 0.2, 0.4)
# How often the pods' own troubles are looked for while a workload is not ready.
_TROUBLE_SECONDS = 4
# "Each time we get an update, wait 10 seconds for any stragglers" (api-docs/core/v1/service).
_ENDPOINTS_SETTLE_SECONDS = 10


@dataclass
class Readiness:
    """Whether an object is ready; if not, what is known about why."""

    missing: list[str] = field(default_factory=list)
    """What has to come true yet; ready when empty."""
    status: str = ""
    """How far it is, for the status line."""
    failed: bool = False
    """Waiting longer is no use."""
    settle: float = 0
    """For how many seconds it has to stay ready."""
    owner: Object | None = None
    """Whose pods may tell more."""
    pods_go: bool = False
    """Its pods may be gone when it fails: what each of them said is kept."""


def _condition(obj: Object, kind: str) -> Object:
    conditions = obj.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _is_true(obj: Object, kind: str) -> bool:
    return _condition(obj, kind).get("status") == "True"


def _why(obj: Object, *kinds: str) -> list[str]:
    """What the conditions that should be true say about being false."""
    conditions = [_condition(obj, kind) for kind in kinds]
    return [
        f"[{condition['reason']}] {condition['message']}"
        for condition in conditions
        if condition.get("status") == "False" and condition.get("message")
    ]


def _owned(cluster: Cluster, kind: tuple[str, str], owner: Object) -> list[Object]:
    labels = owner["spec"].get("selector", {}).get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    uid = owner["metadata"]["uid"]
    return [
        obj
        for obj in cluster.list(kind, owner["metadata"]["namespace"], selector)
        if any(ref["uid"] == uid for ref in obj["metadata"].get("ownerReferences", []))
    ]


def _deployment(cluster: Cluster, obj: Object) -> Readiness:
    """api-docs/apps/v1/deployment: the current ReplicaSet is complete and the Deployment available.

    From the second revision on the rollout must be over as well, and its claims must be bound.
    """
    revision = annotation(obj, "deployment.kubernetes.io/revision")
    if obj.get("status", {}).get("observedGeneration") != obj["metadata"]["generation"]:
        return Readiness(["The Deployment controller has not seen the change"], "Waiting to start")
    replica_sets = _owned(cluster, ("apps/v1", "ReplicaSet"), obj)
    current = next(
        (
            rs
            for rs in replica_sets
            if annotation(rs, "deployment.kubernetes.io/revision") == revision
        ),
        None,
    )
    if current is None:
        return Readiness(["There is no ReplicaSet for the current revision"], "Waiting to start")
    ready, wanted = current["status"].get("readyReplicas", 0), current["spec"].get("replicas", 1)
    missing = _unbound_claims(cluster, obj)
    if shortfall := _shortfall(obj, revision == "1", ready < wanted):
        missing.append(shortfall)
    status = f"Waiting for app ReplicaSet to be available ({ready}/{wanted} Pods available)"
    if missing:
        missing = [*_why(obj, "Progressing", "Available"), *missing]
    return Readiness(missing, status, owner=current)


def _shortfall(obj: Object, first: bool, too_few: bool) -> str:
    """What a rollout lacks, in the official words; the first revision has none to be over."""
    rolled_out = _condition(obj, "Progressing").get("reason") == "NewReplicaSetAvailable"
    if not _is_true(obj, "Available"):
        return "Minimum number of live Pods was not attained"
    if too_few if first else not rolled_out:
        return "Minimum number of Pods to consider the application live was not attained"
    if too_few:
        return (
            "Attempted to roll forward to new ReplicaSet, but minimum number of Pods did not"
            " become live"
        )
    return ""


def _unbound_claims(cluster: Cluster, obj: Object) -> list[str]:
    volumes = obj["spec"]["template"]["spec"].get("volumes") or []
    wanted = [
        v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v
    ]
    if not wanted:
        return []
    claims = cluster.list(("v1", "PersistentVolumeClaim"), obj["metadata"]["namespace"])
    unbound = [
        claim["metadata"]["name"]
        for claim in claims
        if claim["metadata"]["name"] in wanted and claim["status"].get("phase") != "Bound"
    ]
    return [f'Failed to bind PersistentVolumeClaim(s): "{",".join(unbound)}"'] if unbound else []


def _stateful_set(cluster: Cluster, obj: Object) -> Readiness:
    """api-docs/apps/v1/statefulset: all replicas are current and ready, and so is the revision."""
    status, generation = obj.get("status", {}), obj["metadata"]["generation"]
    wanted = obj["spec"].get("replicas", 1)
    by_hand = generation > 1 and obj["spec"].get("updateStrategy", {}).get("type") == "OnDelete"
    counted = ["replicas", "readyReplicas"] + ([] if by_hand else ["currentReplicas"])
    current, update = status.get("currentRevision", ""), status.get("updateRevision", "")
    ready = status.get("readyReplicas", 0)
    if current != update:  # some of them are still the old ones
        ready = min(ready, status.get("updatedReplicas", 0))
    missing = []
    if status.get("observedGeneration", 0) < generation:
        missing.append("The StatefulSet controller has not seen the change")
    if any(status.get(name, 0) != wanted for name in counted):
        missing.append(f"{ready} out of {wanted} replicas succeeded readiness checks")
    if not by_hand and (not current or current != update):
        missing.append(
            "StatefulSet controller failed to advance from revision"
            f' "{current}" to revision "{update}"'
        )
    line = f"Waiting for StatefulSet to roll out ({ready}/{wanted} Pods ready)"
    return Readiness(missing, line, owner=obj)


def _daemon_set(cluster: Cluster, obj: Object) -> Readiness:
    """api-docs/apps/v1/daemonset: every node that should has an updated pod that is available."""
    status = obj.get("status", {})
    wanted = status.get("desiredNumberScheduled", 0)
    counts = {
        name: status.get(name, 0)
        for name in ("currentNumberScheduled", "updatedNumberScheduled", "numberAvailable")
    }
    missing = [f"{name}: {count} of {wanted}" for name, count in counts.items() if count < wanted]
    if status.get("observedGeneration") != obj["metadata"]["generation"]:
        missing.append("The DaemonSet controller has not seen the change")
    return Readiness(missing, f"Waiting for DaemonSet ({', '.join(missing)})", owner=obj)


def _pod(cluster: Cluster, obj: Object) -> Readiness:
    """api-docs/core/v1/pod: scheduled, initialized and ready, or succeeded."""
    untrue = _untrue(obj)
    if untrue is None:
        return Readiness()
    steps = {"PodScheduled": "scheduled", "Initialized": "initialized", "Ready": "ready"}
    status = f'Waiting for Pod "{_qualified(obj)}" to be {steps[untrue]}'
    return Readiness(_pod_trouble(obj) or [status], status)


# A Job that failed for another reason is waited for until the time is over, by the official
# provider too.
_JOB_FAILURES = ("BackoffLimitExceeded", "DeadlineExceeded")


def _job(cluster: Cluster, obj: Object) -> Readiness:
    """api-docs/batch/v1/job: it started and is complete; one that failed fails at once."""
    counts, condition = obj.get("status", {}), _condition(obj, "Failed")
    failed = _is_true(obj, "Failed") and condition.get("reason") in _JOB_FAILURES
    if _is_true(obj, "Complete") and not failed:
        return Readiness()
    name = f'Waiting for Job "{_qualified(obj)}"'
    numbers = (
        f"{kind.title()}: {counts.get(kind, 0)}" for kind in ("active", "succeeded", "failed")
    )
    status = f"{name} to succeed ({' | '.join(numbers)})"
    if "startTime" not in counts:
        status = f"{name} to start"
    missing = [f"[{condition['reason']}] {condition['message']}"] if failed else [status]
    return Readiness(missing, status, failed=failed, owner=obj, pods_go=True)


def _service(cluster: Cluster, obj: Object) -> Readiness:
    """api-docs/core/v1/service: it has endpoints, all ready, and its load balancer an address.

    Headless, ExternalName and selector-less Services need no endpoints.
    """
    spec, metadata, missing = obj["spec"], obj["metadata"], []
    bare = spec.get("clusterIP") == "None" or spec.get("type") == "ExternalName"
    targets = not bare and bool(spec.get("selector"))
    if targets and not _has_endpoints(cluster, metadata["namespace"], metadata["name"]):
        missing.append(
            "Service does not target any Pods. Selected Pods may not be ready, or field"
            " '.spec.selector' may not match labels on any Pods"
        )
    if spec.get("type") == "LoadBalancer" and not obj["status"]["loadBalancer"].get("ingress"):
        missing.append(
            "Service was not allocated an IP address; does your cloud provider support this?"
        )
    status = "Finding Pods to direct traffic to" if targets else "Waiting for an IP address"
    return Readiness(missing, status, settle=_ENDPOINTS_SETTLE_SECONDS if targets else 0)


def _has_endpoints(cluster: Cluster, namespace: str, name: str) -> bool:
    selector = f"kubernetes.io/service-name={name}"
    slices = cluster.list(("discovery.k8s.io/v1", "EndpointSlice"), namespace, selector)
    conditions = [
        item.get("conditions", {}) for one in slices for item in one.get("endpoints") or []
    ]
    staying = [condition for condition in conditions if not condition.get("terminating")]
    return bool(staying) and all(condition.get("ready") for condition in staying)


def _claim(cluster: Cluster, obj: Object) -> Readiness:
    """api-docs/core/v1/persistentvolumeclaim: bound, or pending where its class binds late."""
    phase = obj.get("status", {}).get("phase")
    if phase == "Bound" or (phase == "Pending" and _binds_late(cluster, obj)):
        return Readiness()
    status = f"Waiting for PersistentVolumeClaim to be bound (it is {phase})"
    return Readiness([status], status)


def _binds_late(cluster: Cluster, claim: Object) -> bool:
    name = claim["spec"].get("storageClassName")
    if not name:
        return False
    try:
        storage_class = cluster.get(("storage.k8s.io/v1", "StorageClass"), "", name)
    except ApiError:
        return False
    return storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


_RULES: dict[str, Callable[[Cluster, Object], Readiness]] = {
    "apps/v1/DaemonSet": _daemon_set,
    "apps/v1/Deployment": _deployment,
    "apps/v1/StatefulSet": _stateful_set,
    "batch/v1/Job": _job,
    "v1/PersistentVolumeClaim": _claim,
    "v1/Pod": _pod,
    "v1/Service": _service,
}
# Whether these are ready is asked after a create or an update only.
_NOT_READ = frozenset({"v1/PersistentVolumeClaim"})

_UNREADY = "Resource '{}' was created but failed to initialize"
_TIMED_OUT = "'{}' timed out waiting to be Ready"
_CANCELLED = 'Resource operation was cancelled for "{}"'


def _untrue(pod: Object) -> str | None:
    """The first condition that a pod has yet to meet; one that succeeded need not be ready."""
    kinds = ["PodScheduled", "Initialized"]
    if pod.get("status", {}).get("phase") != "Succeeded":
        kinds.append("Ready")
    return next((kind for kind in kinds if not _is_true(pod, kind)), None)


def _pod_trouble(pod: Object) -> list[str]:
    """What keeps a pod from being ready, as far as the official provider tells it.

    It has no word on why a pod is not scheduled, nor on its init containers.
    """
    untrue = _untrue(pod)
    condition = _condition(pod, untrue or "")
    if untrue == "PodScheduled" or not condition:
        return []
    containers = pod["status"].get("containerStatuses", [])
    parts = [text for container in containers for text in _container_trouble(container)]
    said = condition.get("message", "") if condition.get("reason") else ""
    return [f"[Pod {_qualified(pod)}]: {said}" + "\n".join(parts)] if said or parts else []


def _container_trouble(container: Object) -> Iterable[str]:
    if container.get("ready"):
        return
    name, state = f'container "{container["name"]}"', container.get("state", {})
    waiting, ended = state.get("waiting", {}), state.get("terminated", {})
    if waiting.get("reason") not in (None, "ContainerCreating"):
        yield f"[{waiting['reason']}] {waiting.get('message', '')}"
    if ended.get("message"):
        yield f"[{ended['reason']}] {ended['message']}"
    elif ended:
        yield f"{name} completed with exit code {ended['exitCode']}"
    if before := container.get("lastState", {}).get("terminated"):
        end = f"{before.get('reason', '')}: exit code {before['exitCode']}"
        yield f"{name} terminated at {before['finishedAt']} ({end})"
        if before.get("message"):
            yield before["message"]


def _troubles(cluster: Cluster, owner: Object | None) -> list[str]:
    if owner is None:
        return []
    pods = _owned(cluster, ("v1", "Pod"), owner)
    return [text for pod in pods for text in _pod_trouble(pod)]


def _qualified(obj: Object) -> str:
    """The name as the official provider shows it."""
    namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
    return name if namespace == "default" else f"{namespace}/{name}"


def _kind(obj: Object) -> str:
    return f"{obj['apiVersion']}/{obj['kind']}"


def _pauses() -> Iterator[float]:
    return chain(_POLL_SECONDS, repeat(_POLL_SECONDS[-1]))


def _seconds(op: Operation, obj: Object, default: float) -> float:
    """The resource option `custom_timeouts`, the annotation, or the kind's own."""
    text = annotation(obj, "pulumi.com/timeoutSeconds")
    return op.timeout or (float(text) if text.isdigit() else default)


def check_ready(cluster: Cluster, obj: Object) -> None:
    """Raise `NotReady` when an object is not ready at this moment; for a refresh."""
    rule = _RULES.get(_kind(obj))
    if rule is None or _kind(obj) in _NOT_READ or is_set(obj, "pulumi.com/skipAwait"):
        return
    now = rule(cluster, obj)
    if now.missing:
        reasons = [*now.missing, *_troubles(cluster, now.owner)]
        raise NotReady(_UNREADY.format(obj["metadata"]["name"]), reasons)


def await_ready(op: Operation, cluster: Cluster, obj: Object) -> Object:
    """Wait until an object is ready: the object as it is then, or `NotReady` with every reason."""
    rule = _RULES.get(_kind(obj))
    if rule is None or is_set(obj, "pulumi.com/skipAwait"):
        return obj
    wait = _Wait(op, cluster, obj, rule)
    seconds = _seconds(op, obj, READY_SECONDS.get(obj["kind"], DEFAULT_READY_SECONDS))
    deadline, pauses = time.monotonic() + seconds, _pauses()
    while not wait.over():
        if time.monotonic() >= deadline and not wait.now.missing:
            break  # ready, only not for long enough
        if time.monotonic() >= deadline:
            raise wait.failure(_TIMED_OUT)
        if op.cancelled.wait(next(pauses)):
            raise wait.failure(_CANCELLED)
    op.status("")
    return wait.obj


class _Wait:
    """One wait for readiness: what was seen last, and what the user was shown of it."""

    def __init__(self, op: Operation, cluster: Cluster, obj: Object, rule: Any) -> None:
        self.op, self.cluster, self.obj, self.rule = op, cluster, obj, rule
        self.now = Readiness(["Nothing is known of it yet"])
        self.ready_since = 0.0
        self.troubled_at = time.monotonic()
        self.shown = ""
        self.kept: dict[str, None] = {}

    def over(self) -> bool:
        """Look once; whether the object is ready and has been for long enough."""
        metadata = self.obj["metadata"]
        kind = (self.obj["apiVersion"], self.obj["kind"])
        try:
            self.obj = self.cluster.get(kind, metadata.get("namespace", ""), metadata["name"])
            self.now = self.rule(self.cluster, self.obj)
        except Unreachable as error:  # an API server that restarts is no failure of the object's
            self.now = Readiness([str(error)], str(error))
        if self.now.pods_go:
            self.kept.update(dict.fromkeys(self._troubles()))
        if self.now.failed:
            raise self.failure(_UNREADY)
        if self.now.missing:
            self.ready_since = 0.0
            self._show()
            return False
        self.ready_since = self.ready_since or time.monotonic()
        return time.monotonic() - self.ready_since >= self.now.settle

    def _show(self) -> None:
        line, severity = self.now.status, INFO
        if time.monotonic() - self.troubled_at >= _TROUBLE_SECONDS:
            self.troubled_at = time.monotonic()
            if troubles := self._troubles():
                line, severity = troubles[0], WARNING
        if line != self.shown:
            self.op.status(line, severity)
            self.shown = line

    def _troubles(self) -> list[str]:
        try:
            return _troubles(self.cluster, self.now.owner)
        except ResourceError:
            return []

    def failure(self, text: str) -> NotReady:
        """The wait ended badly."""
        troubles = self.kept or self._troubles()
        return NotReady(text.format(self.obj["metadata"]["name"]), [*self.now.missing, *troubles])


def await_gone(op: Operation, cluster: Cluster, obj: Object, path: str) -> None:
    """Wait until an object that is being deleted is gone."""
    kind = obj["kind"]
    if is_set(obj, "pulumi.com/skipAwait") and kind in SKIP_AWAITING_DELETION:
        return
    seconds = _seconds(op, obj, DELETED_SECONDS.get(kind, DEFAULT_DELETED_SECONDS))
    deadline, pauses = time.monotonic() + seconds, _pauses()
    shown = ""
    while (line := _what_is_left(cluster, path, obj)) is not None:
        if line != shown:
            op.status(line)
            shown = line
        if time.monotonic() >= deadline:
            raise ResourceError(f"timed out after {seconds:.0f} s waiting for deletion: {line}")
        if op.cancelled.wait(next(pauses)):
            raise ResourceError(f"cancelled while waiting for deletion: {line}")
    op.status("")


def _what_is_left(cluster: Cluster, path: str, obj: Object) -> str | None:
    uid = obj["metadata"].get("uid")
    try:
        live = cluster.request("GET", path)
    except Unreachable as error:
        return str(error)
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    metadata, status = live["metadata"], live.get("status", {})
    if uid and metadata["uid"] != uid:
        return None  # another object of that name
    details = [
        f"{status['replicas']} replicas left" if status.get("replicas") else "",
        f"finalizers: {', '.join(metadata['finalizers'])}" if metadata.get("finalizers") else "",
        *(c["message"] for c in status.get("conditions", []) if c["type"].startswith("Namespace")),
    ]
    return f'{live["kind"]} "{metadata["name"]}" still exists ({"; ".join(filter(None, details))})'
