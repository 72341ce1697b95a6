"""What differs from kind to kind, in tables."""

from functools import cache

_CORE, _APPS, _BATCH, _RBAC = "", "apps", "batch", "rbac.authorization.k8s.io"

BUILT_IN_GROUPS = frozenset(
    {
        _CORE,
        _APPS,
        _BATCH,
        _RBAC,
        "apiextensions.k8s.io",
        "autoscaling",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "networking.k8s.io",
        "policy",
        "scheduling.k8s.io",
        "storage.k8s.io",
    }
)

CLUSTER_SCOPED = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "IngressClass",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "StorageClass",
    }
)


def plural(kind: str) -> str:
    """How the API names a built-in kind in its paths."""
    word = kind.lower()
    if word.endswith("y"):
        return word[:-1] + "ies"
    if word.endswith("s"):
        return word if kind == "Endpoints" else word + "es"
    return word + "s"


# The fields whose change replaces an object, besides its name and namespace. This follows what the
# official provider documents and does; https://www.pulumi.com/registry/packages/kubernetes/
# api-docs/ describes each kind. Containers of a Pod: `*` stands for any of them.
_CONTAINER = (
    "args command env image imagePullPolicy lifecycle livenessProbe ports readinessProbe resources"
    " securityContext stdin stdinOnce terminationMessagePath terminationMessagePolicy tty"
    " volumeDevices volumeMounts workingDir"
)
_POD = (
    "affinity automountServiceAccountToken dnsConfig dnsPolicy enableServiceLinks hostAliases"
    " hostIPC hostNetwork hostPID hostname imagePullSecrets nodeName nodeSelector overhead"
    " preemptionPolicy priority priorityClassName readinessGates restartPolicy runtimeClassName"
    " schedulerName securityContext serviceAccount serviceAccountName shareProcessNamespace"
    " subdomain terminationGracePeriodSeconds volumes"
)
_REPLACING: dict[tuple[str, str], list[str]] = {
    (_APPS, "DaemonSet"): ["spec.selector"],
    (_APPS, "Deployment"): ["spec.selector"],
    (_APPS, "StatefulSet"): [
        "spec.podManagementPolicy",
        "spec.revisionHistoryLimit",
        "spec.selector",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    ],
    (_BATCH, "Job"): ["spec.completions", "spec.parallelism", "spec.selector", "spec.template"],
    (_CORE, "ConfigMap"): [],
    (_CORE, "PersistentVolumeClaim"): [
        "spec.accessModes",
        "spec.selector",
        "spec.storageClassName",
        "spec.volumeName",
    ],
    (_CORE, "Pod"): [
        *(f"spec.{name}" for name in _POD.split()),
        *(
            f"spec.{list_}.*.{name}"
            for list_ in ("containers", "initContainers")
            for name in _CONTAINER.split()
        ),
    ],
    (_CORE, "Secret"): ["type"],
    (_CORE, "Service"): ["spec.clusterIP"],
    (_RBAC, "ClusterRoleBinding"): ["roleRef"],
    (_RBAC, "RoleBinding"): ["roleRef"],
    ("storage.k8s.io", "StorageClass"): ["parameters", "provisioner"],
}
# Replaced too while the provider is not configured to mutate the kind, or the object is immutable.
_IMMUTABLE_DATA: dict[tuple[str, str], list[str]] = {
    (_CORE, "ConfigMap"): ["binaryData", "data"],
    (_CORE, "Secret"): ["data", "stringData"],
}


@cache
def replacing(group: str, kind: str, mutable: bool) -> tuple[tuple[str, ...], ...]:
    """The paths whose change replaces an object; `mutable`: data may change in place."""
    key = (group, kind)
    data = [] if mutable else _IMMUTABLE_DATA.get(key, [])
    paths = ["metadata.name", "metadata.namespace", *_REPLACING.get(key, []), *data]
    return tuple(tuple(path.split(".")) for path in paths)


# How long to wait by default, in seconds.
READY_SECONDS = {"PersistentVolumeClaim": 300}
DELETED_SECONDS = {"DaemonSet": 600, "Deployment": 600, "StatefulSet": 600}
DEFAULT_READY_SECONDS, DEFAULT_DELETED_SECONDS = 600, 300

# The kinds whose deletion `pulumi.com/skipAwait` does not wait for.
SKIP_AWAITING_DELETION = frozenset(
    {"DaemonSet", "Deployment", "Job", "Namespace", "Pod", "StatefulSet"}
)
