"""What a user lays over a pod template: Kubernetes' strategic merge, as of `kubectl patch`.

https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, cast

import pulumi
import pulumi_kubernetes as k8s

MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""The lists whose items are merged, and what tells the items apart (`patchMergeKey` in the API).
Other lists are replaced."""

EXCLUSIVE = frozenset({"resourceClaims", "volumes"})
"""The lists where an item loses the fields that the overlay's does not name, since one excludes
the other (`retainKeys` in the API)."""

DIRECTIVE = "$patch"
"""Key that says what becomes of the thing around it: `delete` an item, `replace` a map or list."""

_Fields = Mapping[str, Any]
_Path = tuple[str, ...]


def merged(
    template: k8s.core.v1.PodTemplateSpecArgs, overlay: _Fields
) -> k8s.core.v1.PodTemplateSpecArgs:
    """*template* with *overlay*, in the Kubernetes API's own names, laid over it.

    `null` takes a field away. New items come after the component's own, so that `kubectl exec` and
    `kube-pod://` find buildkitd, in the first container.

    Raises:
        ValueError: a field is none of Kubernetes', an item lacks its key, or the pods would lack
            what the component counts on.
    """
    result = _merged(template, overlay, "pod")
    if lost := _lost(template, result):
        paths = ", ".join(".".join(("pod", *path)) for path in lost)
        raise ValueError(f"{paths}: the component's own; leave it as it is")
    return result


def conflicts(template: k8s.core.v1.PodTemplateSpecArgs, overlay: _Fields) -> list[_Path]:
    """Where *overlay* touches what the component counts on in the pods of *template*."""
    return _lost(template, _merged(template, overlay, "pod"))


def _lost(template: object, result: object) -> list[_Path]:
    kept = dict(_counted_on(result))
    lost = [path for path, value in _counted_on(template) if kept.get(path) != value]
    # A container that is not there has none of what is in it.
    return [path for path in lost if path[:3] == path or path[:3] not in lost]


def _counted_on(template: object) -> Iterator[tuple[_Path, object]]:
    """What selectors, Services and clients look for in the pods of *template*, by its path."""
    metadata = _get(template, "metadata")
    labels: dict[str, object] = _get(metadata, "labels") or {}
    yield ("metadata", "name"), _get(metadata, "name")
    for label, value in labels.items():
        yield ("metadata", "labels", label), value
    for container in _get(_get(template, "spec"), "containers") or ():
        path = ("spec", "containers", str(_get(container, "name")))
        yield path, True
        yield (*path, "command"), _get(container, "command")
        yield (*path, "args"), _get(container, "args")
        for port in _get(container, "ports") or ():
            yield (*path, "ports", str(_get(port, "containerPort"))), _get(port, "name")


def _merged(base: object, overlay: object, path: str) -> Any:
    if _is_known_later(base, overlay) and _has_parts(base) and _has_parts(overlay):
        later: pulumi.Output[list[Any]] = pulumi.Output.all(base, overlay)
        return later.apply(lambda known: _merged(known[0], known[1], path))
    if isinstance(overlay, Mapping):
        return _merged_map(base, cast("_Fields", overlay), path)
    if isinstance(overlay, list):
        return _merged_list(base, cast("list[object]", overlay), path)
    return overlay


def _merged_map(base: object, overlay: _Fields, path: str) -> object:
    if overlay.get(DIRECTIVE) == "replace":
        base = {}
    changes = {
        field: _merged(_get(base, field), value, f"{path}.{field}")
        for field, value in overlay.items()
        if field != DIRECTIVE
    }
    if attributes := _attributes(type(base)):
        changed = copy.copy(base)
        for field, value in changes.items():
            if field.lower() not in attributes:
                raise ValueError(f"{path}.{field} is no field in Kubernetes")
            setattr(changed, attributes[field.lower()], value)
        return changed
    fields = {**cast("_Fields", base), **changes} if isinstance(base, Mapping) else changes
    return {field: value for field, value in fields.items() if value is not None}


def _merged_list(base: object, overlay: list[object], path: str) -> list[object]:
    field = path.rpartition(".")[2]
    if field not in MERGE_KEYS:
        return [_merged(None, item, path) for item in overlay]
    key = MERGE_KEYS[field]
    directives = [_get(item, DIRECTIVE) for item in overlay]
    items = [*cast("Sequence[object]", base or ())] if "replace" not in directives else []
    for item, directive in zip(overlay, directives, strict=True):
        if directive == "replace":
            continue
        if (name := _get(item, key)) is None:
            raise ValueError(f"{path}: an item lacks its {key}")
        at = next((n for n, known in enumerate(items) if _get(known, key) == name), len(items))
        known = items[at] if at < len(items) else None
        if field in EXCLUSIVE:
            known = {named: _get(known, named) for named in cast("_Fields", item)}
        items[at : at + 1] = (
            [] if directive == "delete" else [_merged(known, item, f"{path}[{name}]")]
        )
    return items


def _get(value: object, field: str) -> Any:
    """The field of *value*, or `None` where there is none."""
    if isinstance(value, Mapping):
        return cast("_Fields", value).get(field)
    attribute = _attributes(type(value)).get(field.lower())
    return attribute and getattr(value, attribute)


def _is_known_later(*values: object) -> bool:
    return any(isinstance(value, pulumi.Output) for value in values)


def _has_parts(value: object) -> bool:
    """Whether *value* is a map or a list, or may become one."""
    return isinstance(value, Mapping | list | pulumi.Output) or bool(_attributes(type(value)))


@cache
def _attributes(cls: type) -> dict[str, str]:
    """The attributes of one of Pulumi's input types, by the API's names in lower case."""
    return {
        name.replace("_", "").lower(): name
        for name, attribute in vars(cls).items()
        if isinstance(attribute, property) and not name.startswith("_")
    }
