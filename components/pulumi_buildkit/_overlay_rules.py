"""What an overlay must leave as it is, for each object that takes one, and why: one table.

A rule compares the component's own object with the result of the merge. A breach is refused, or
is a warning where the user may want it all the same.
"""

from collections.abc import Callable
from enum import Enum, Flag, auto
from typing import Any, NamedTuple

from pulumi_buildkit import _drain
from pulumi_buildkit._api import field


class Target(Flag):
    """What an overlay is merged over."""

    BUILDKITD = auto()
    """The pods of a buildkitd that stays."""
    BUILD = auto()
    """The pods of Jobs: builds, trials, and the preflight of nodes."""
    GATEWAY = auto()
    """The gateway's pods."""
    USER_NAMESPACES = auto()
    """The pods of `UserNamespaces`."""
    BUILDKITD_SERVICE = auto()
    """buildkitd's Services, the headless one of a StatefulSet too."""
    GATEWAY_SERVICE = auto()
    """The gateway's Service."""


_BUILDERS = Target.BUILDKITD | Target.BUILD
_DRAINED = Target.BUILDKITD | Target.GATEWAY
_STAYING = _DRAINED | Target.USER_NAMESPACES
_PODS = _STAYING | Target.BUILD
SERVICES = Target.BUILDKITD_SERVICE | Target.GATEWAY_SERVICE


class Effect(Enum):
    """What becomes of an overlay that breaks a rule."""

    REFUSED = auto()
    WARNED = auto()


class Rule(NamedTuple):
    """One promise of a component, and what an overlay must not do to it."""

    targets: Target
    path: tuple[str, ...]
    """Fields in the API's own names; `*` stands for each key, or each item of a list, that the
    component's own object has."""
    keeps: Callable[[Any, Any], bool]
    """Whether the promise holds, from the component's own value and the one after the merge."""
    expected: str
    """What has to be there, and what to do. `{own}` is the component's own value."""
    effect: Effect = Effect.REFUSED


_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
_HOOKS = ("postStart", "preStop")


def _same(own: Any, result: Any) -> bool:
    return own == result


def _kept(own: Any, result: Any) -> bool:
    """What the component does not set is the user's."""
    return own is None or own == result


def _there(own: Any, result: Any) -> bool:
    return own is None or result is not None


def _not_true(own: Any, result: Any) -> bool:
    return bool(own) or result in (None, False)


def _not_false(_: Any, result: Any) -> bool:
    return result in (None, True)


def _at_least(own: Any, result: Any) -> bool:
    return own is None or (isinstance(result, int | float) and result >= own)


def _always(_: Any, result: Any) -> bool:
    return result in (None, "Always")


def _all_in(own: Any, result: Any) -> bool:
    return not own or (isinstance(result, list) and all(item in result for item in own))


def _not_local(_: Any, result: Any) -> bool:
    return result in (None, "Cluster")


def _as_headless(own: Any, result: Any) -> bool:
    """A headless Service stays one, and no other one becomes one."""
    if own is not None or result is None:
        return own == result
    return isinstance(result, str | list) and "None" not in result


def _same_fields(*names: str) -> Callable[[Any, Any], bool]:
    def keeps(own: Any, result: Any) -> bool:
        return own is None or all(field(own, name) == field(result, name) for name in names)

    return keeps


def _volume(own: Any, result: Any) -> bool:
    """Certificates and configuration stay as they are; another volume may be of another kind."""
    is_file = field(own, "secret") is not None or field(own, "configMap") is not None
    return own == result if is_file else result is not None


def _mount(own: Any, result: Any) -> bool:
    # Certificates and configuration are mounted read-only.
    return own == result if field(own, "readOnly") else result is not None


_FOUND_BY = "expected {own}, by which it is found. Remove it from the overlay"
_OWN = "expected the component's own value. Remove it from the overlay"
_CONTAINER = ("spec", "containers", "*")
_SIDECAR = ("spec", "initContainers", "*")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def _instead(key: str) -> str:
    return f"expected the component's own value. Set {key} instead"


RULES = (
    # Selectors, Services, network policies and `kube-pod://` find pods and containers by these.
    Rule(_PODS | SERVICES, ("metadata", "name"), _kept, _FOUND_BY),
    Rule(_PODS | SERVICES, ("metadata", "namespace"), _kept, _OWN),
    Rule(_PODS | SERVICES, ("metadata", "labels", "*"), _same, _FOUND_BY),
    *(
        rule
        for path in (_CONTAINER, _SIDECAR)
        for rule in (
            Rule(_PODS, path, _there, "expected the component's own container. Keep it"),
            Rule(_PODS, (*path, "command"), _same, _OWN),
            Rule(_PODS, (*path, "args"), _same, _OWN),
            Rule(
                _PODS,
                (*path, "ports", "*"),
                _same_fields("name", "protocol"),
                "expected the component's own port: Services and policies lead to it. Keep it",
            ),
            # Certificates, configuration and data.
            Rule(
                _PODS,
                (*path, "volumeMounts", "*"),
                _mount,
                "expected the component's own mount. Mount yours at another path",
            ),
            Rule(
                _BUILDERS,
                (*path, "securityContext", "privileged"),
                _not_true,
                "expected no privileged container. Set security: privileged or userns instead",
            ),
        )
    ),
    Rule(
        _PODS,
        ("spec", "volumes", "*"),
        _volume,
        "expected the component's own volume. Choose another name for yours",
    ),
    # Builds end before their pod stops.
    Rule(
        _DRAINED,
        ("spec", "terminationGracePeriodSeconds"),
        _at_least,
        "expected {own} or more: builds would be cut off. Change drain.timeout instead",
    ),
    Rule(
        _DRAINED,
        (*_CONTAINER, "lifecycle"),
        _same_fields(*_HOOKS),
        "expected the component's own hooks: they drain the pod. Remove them from the overlay",
    ),
    Rule(
        _STAYING,
        ("spec", "activeDeadlineSeconds"),
        _same,
        "expected no deadline: it ends the pod with its builds. Remove it",
    ),
    *(
        Rule(
            _PODS,
            ("metadata", "annotations", annotation),
            _kept,
            "lets a cluster autoscaler evict the pod, which ends builds that are longer than its "
            "limit. Remove it unless no build is that long",
            Effect.WARNED,
        )
        for annotation in _drain.UNDISTURBED
    ),
    # Pods are ready when they serve, and start again when they hang.
    *(
        Rule(
            _PODS,
            (*_CONTAINER, probe),
            _same_fields(*_HANDLERS),
            "expected the component's own check. Change its times only, as periodSeconds",
        )
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    ),
    Rule(_STAYING, ("spec", "restartPolicy"), _always, "expected Always. Remove it"),
    Rule(_STAYING, (*_CONTAINER, "restartPolicy"), _always, "expected Always. Remove it"),
    Rule(Target.BUILD, ("spec", "restartPolicy"), _kept, "expected {own}. Remove it"),
    Rule(_PODS, (*_SIDECAR, "restartPolicy"), _kept, "expected {own}. Remove it"),
    # Two buildkitds never share a claim.
    Rule(
        _PODS,
        ("spec", "affinity", "podAntiAffinity", _REQUIRED),
        _all_in,
        "expected the component's own term among yours: it keeps two pods off one claim. Keep it",
    ),
    Rule(
        _PODS,
        ("spec", "nodeName"),
        _same,
        "expected that the scheduler chooses the node. Set nodeSelector: {{kubernetes.io/hostname: "
        "NODE}} instead",
    ),
    # Build steps share buildkitd's container, and nothing else.
    Rule(
        _BUILDERS | Target.GATEWAY,
        ("spec", "shareProcessNamespace"),
        _not_true,
        "expected false: the drain signals process 1 of its container, and other containers could "
        "kill it. Remove it",
    ),
    Rule(
        _BUILDERS | Target.GATEWAY,
        ("spec", "hostPID"),
        _not_true,
        "expected false: the drain signals process 1 of its container, not of the node. Remove it",
    ),
    Rule(
        _BUILDERS | Target.GATEWAY,
        ("spec", "hostIPC"),
        _not_true,
        "expected false: pods of one node would share /dev/shm. Remove it",
    ),
    Rule(
        _PODS,
        ("spec", "hostUsers"),
        _kept,
        "expected {own}: without a user namespace its root is the node's. Set security instead",
    ),
    Rule(
        Target.USER_NAMESPACES,
        ("spec", "hostUsers"),
        _not_false,
        "expected true: the setting would be the pod's own. Remove it",
    ),
    Rule(
        _BUILDERS | Target.GATEWAY,
        ("spec", "hostNetwork"),
        _not_true,
        "puts the pod into the node's network, where no network policy holds for it. Remove it "
        "unless it has to be there",
        Effect.WARNED,
    ),
    Rule(
        _PODS,
        ("spec", "automountServiceAccountToken"),
        _same,
        "gives the pod a token for the Kubernetes API, which build steps may read. Remove it "
        "unless it is needed",
        Effect.WARNED,
    ),
    # Envoy stays within the limit of its container, which it is told.
    Rule(
        Target.GATEWAY,
        (*_CONTAINER, "resources", "limits", "memory"),
        _same,
        _instead("gateway.resources.limits.memory"),
    ),
    # Services lead to ready pods, at a port that is known.
    Rule(SERVICES, ("spec", "selector"), _same, _OWN),
    Rule(
        SERVICES,
        ("spec", "ports", "*"),
        _same_fields("targetPort", "protocol"),
        "expected the component's own port. Add yours under another number",
    ),
    Rule(SERVICES, ("spec", "ports", "*", "nodePort"), _same, _instead("gateway.nodePort")),
    Rule(SERVICES, ("spec", "type"), _same, _instead("gateway.service")),
    Rule(SERVICES, ("spec", "loadBalancerClass"), _same, _instead("gateway.loadBalancerClass")),
    Rule(SERVICES, ("spec", "loadBalancerSourceRanges"), _same, _instead("gateway.sourceRanges")),
    Rule(
        SERVICES,
        ("spec", "externalTrafficPolicy"),
        _same,
        _instead("gateway.externalTrafficPolicy"),
    ),
    *(
        Rule(
            SERVICES,
            ("spec", address),
            _as_headless,
            "expected the component's own value: the gateway dials a Service at one address, and "
            "the pods of a farm at theirs. Remove it",
        )
        for address in ("clusterIP", "clusterIPs")
    ),
    Rule(
        SERVICES,
        ("spec", "publishNotReadyAddresses"),
        _not_true,
        "expected false: new builds would reach pods that drain. Remove it",
    ),
    Rule(
        SERVICES,
        ("spec", "internalTrafficPolicy"),
        _not_local,
        "expected Cluster: clients on nodes without such a pod would reach none. Remove it",
    ),
)
