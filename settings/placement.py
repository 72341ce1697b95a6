"""Which nodes a pod may run on, what kinds of them there are, and what they have room for.

Nodes are as Kubernetes' client reads them, pods as the Kubernetes API writes them.
https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pulumi_buildkit.quantity import number

Spec = Mapping[str, Any]
"""A pod's, with the fields that its writer cares for."""

_REPELLING = ("NoSchedule", "NoExecute")
# The kind's name is part of a Job's, which has 63 letters.
_LONGEST = 38


def candidates(nodes: Iterable[Any], spec: Spec) -> list[Any]:
    """Those of *nodes* that a pod with *spec* may be put on, if there is room."""
    return [node for node in nodes if _may_run(node, spec)]


def _may_run(node: Any, spec: Spec) -> bool:
    labels = node.metadata.labels or {}
    wanted = spec.get("nodeSelector") or {}
    taints = [taint for taint in node.spec.taints or () if taint.effect in _REPELLING]
    return (
        not node.spec.unschedulable
        and labels.get("kubernetes.io/os", "linux") == "linux"
        and all(labels.get(key) == value for key, value in wanted.items())
        and all(_is_tolerated(taint, spec.get("tolerations") or ()) for taint in taints)
        and _attracts(node, spec)
    )


def _is_tolerated(taint: Any, tolerations: Iterable[Spec]) -> bool:
    return any(
        each.get("key") in (None, "", taint.key)
        and each.get("effect") in (None, "", taint.effect)
        and (
            each.get("operator") == "Exists"
            or (bool(each.get("key")) and (each.get("value") or "") == (taint.value or ""))
        )
        for each in tolerations
    )


def _attracts(node: Any, spec: Spec) -> bool:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms")
    return not terms or any(_matches(node, term) for term in terms)


def _matches(node: Any, term: Spec) -> bool:
    named = {"metadata.name": node.metadata.name}
    of_labels, of_fields = (term.get(key) or () for key in ("matchExpressions", "matchFields"))
    return all(_holds(each, node.metadata.labels or {}) for each in of_labels) and all(
        _holds(each, named) for each in of_fields
    )


_OPERATORS: dict[str, Callable[[str | None, Sequence[str]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": lambda value, values: value is not None and int(value) > int(values[0]),
    "Lt": lambda value, values: value is not None and int(value) < int(values[0]),
}


def _holds(requirement: Spec, values: Mapping[str, str]) -> bool:
    operator = _OPERATORS[requirement["operator"]]
    try:
        return operator(values.get(requirement["key"]), requirement.get("values") or ())
    except (ValueError, IndexError):
        # A label that is no number is neither more nor less.
        return False


def kinds(nodes: Iterable[Any]) -> dict[str, list[Any]]:
    """Those of *nodes* that are ready, the oldest first, by what decides whether BuildKit runs."""
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for node in nodes:
        if _is_ready(node):
            found[_kind(node.status.node_info)].append(node)
    return {kind: sorted(found[kind], key=_age) for kind in sorted(found)}


def _is_ready(node: Any) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions or ())


def _age(node: Any) -> tuple[Any, str]:
    return node.metadata.creation_timestamp, node.metadata.name


def _kind(info: Any) -> str:
    """Its architecture, its kernel, and a digest of these and what the kubelet runs pods with."""
    decisive = (
        info.architecture,
        info.kernel_version,
        info.os_image,
        info.container_runtime_version,
        info.kubelet_version,
    )
    digest = hashlib.sha256("\n".join(decisive).encode()).hexdigest()[:4]
    said = re.sub(r"[^a-z0-9]+", "-", f"{info.architecture}-{info.kernel_version}".lower())
    return f"{said[:_LONGEST].strip('-')}-{digest}"


def requests(*containers: Spec) -> dict[str, Decimal]:
    """What a pod's *containers* ask of its node together; a limit asks for as much by itself."""
    asked: defaultdict[str, Decimal] = defaultdict(Decimal)
    for container in containers:
        given = container.get("resources") or {}
        each = {**(given.get("limits") or {}), **(given.get("requests") or {})}
        for resource, quantity in each.items():
            if quantity is not None:
                asked[resource] += number(str(quantity))
    return asked


def most(nodes: Iterable[Any], resource: str) -> tuple[str, str]:
    """The node that has the most of a *resource*, by its name, and what it has."""
    node = max(nodes, key=lambda node: _has(node, resource))
    return node.metadata.name, (node.status.allocatable or {}).get(resource, "none")


def has_room(node: Any, asked: Mapping[str, Decimal]) -> bool:
    """Whether a *node* that is empty has all that is *asked* of it."""
    return all(quantity <= _has(node, resource) for resource, quantity in asked.items())


def _has(node: Any, resource: str) -> Decimal:
    return number((node.status.allocatable or {}).get(resource, "0"))
