"""What a user lays over a pod or a Service: Kubernetes' strategic merge, as of `kubectl patch`.

https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import pulumi

from pulumi_buildkit._api import attributes
from pulumi_buildkit._api import field as _get
from pulumi_buildkit._overlay_rules import RULES, SERVICES, Effect, Target

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

APPENDED = ".podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution"
"""The list without a key that keeps the component's own items: they keep two pods off one claim."""

POD = "pod"
SERVICE = "service"
"""What paths begin with, as `kubectl explain` takes them."""

DIRECTIVE = "$patch"
"""Key that says what becomes of the thing around it: `delete` an item, `replace` a map or list."""

_Fields = Mapping[str, Any]
_Path = tuple[str, ...]
_Object = TypeVar("_Object")


class Conflict(NamedTuple):
    """A promise of the component that an overlay breaks."""

    path: _Path
    """Of the field, in the API's own names; an item of a list by its key."""
    complaint: str
    """What was expected, and what to do."""
    value: object
    """The field's value after the merge, unless it is a map or a list."""
    effect: Effect


def merged(base: _Object, overlay: _Fields, target: Target) -> _Object:
    """*base* with *overlay*, in the Kubernetes API's own names, laid over it.

    `null` takes a field away. New items come after the component's own, so that `kubectl exec` and
    `kube-pod://` find buildkitd, in the first container.

    Raises:
        ValueError: a field is none of Kubernetes', an item lacks its key, or the result would break
            what the component promises (`_overlay_rules`), with a line for each.
    """
    root = _root(target)
    result: _Object = _merged(base, overlay, root)
    if overlay and (
        lines := [
            f"{'.'.join((root, *path))}: {'' if value is None else f'{value!r}: '}{complaint}"
            for path, complaint, value, effect in _broken(base, result, target)
            if effect is Effect.REFUSED
        ]
    ):
        raise ValueError("\n".join(lines))
    return result


def conflicts(base: object, overlay: _Fields, target: Target) -> list[Conflict]:
    """What *overlay* would break of the promises of *base*."""
    return _broken(base, _merged(base, overlay, _root(target)), target)


def merge_key(root: str, field: str) -> str | None:
    """What tells the items of the list *field* apart, in a `pod` or in a Service."""
    key = MERGE_KEYS.get(field)
    return "port" if key == "containerPort" and root != POD else key


def _root(target: Target) -> str:
    return SERVICE if target in SERVICES else POD


def _broken(base: object, result: object, target: Target) -> list[Conflict]:
    found: dict[_Path, Conflict] = {}
    for rule in RULES:
        if target not in rule.targets:
            continue
        for path, own, value in _values(base, result, rule.path, _root(target)):
            # Of a container that is not there, none of what is in it.
            lost = any(path[:length] in found for length in range(1, len(path)))
            if not lost and not rule.keeps(own, value):
                known = value if isinstance(value, str | int | float) else None
                complaint = f"{rule.expected.format(own=own)}."
                if rule.effect is Effect.REFUSED:
                    complaint = f"is invalid: {complaint}"
                found.setdefault(path, Conflict(path, complaint, known, rule.effect))
    return [*found.values()]


def _values(
    own: object, result: object, path: _Path, root: str, within: str = ""
) -> Iterator[tuple[_Path, Any, Any]]:
    """What *own* and *result* have at each place of *path*, where `*` stands for all of *own*."""
    if not path:
        yield (), own, result
        return
    part, *rest = path
    items: list[tuple[str, Any, Any]]
    if part != "*":
        items = [(part, _get(own, part), _get(result, part))]
    elif isinstance(own, Mapping):
        ours = cast("_Fields", own)
        items = [(key, value, _get(result, key)) for key, value in ours.items()]
    else:
        key = merge_key(root, within) or ""
        there = {_get(item, key): item for item in _list(result)}
        items = [(str(name := _get(item, key)), item, there.get(name)) for item in _list(own)]
    for name, mine, theirs in items:
        for below, *values in _values(mine, theirs, tuple(rest), root, part):
            yield (name, *below), *values


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


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
    if known := attributes(type(base)):
        changed = copy.copy(base)
        for field, value in changes.items():
            if field.lower() not in known:
                raise ValueError(f"{path}.{field} is no field in Kubernetes")
            setattr(changed, known[field.lower()], value)
        return changed
    fields = {**cast("_Fields", base), **changes} if isinstance(base, Mapping) else changes
    return {field: value for field, value in fields.items() if value is not None}


def _merged_list(base: object, overlay: list[object], path: str) -> list[object]:
    field = path.rpartition(".")[2]
    key = merge_key(path.partition(".")[0], field)
    if key is None:
        own = [*cast("Sequence[object]", base or ())] if path.endswith(APPENDED) else []
        return [*own, *(_merged(None, item, path) for item in overlay if item not in own)]
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


def _is_known_later(*values: object) -> bool:
    return any(isinstance(value, pulumi.Output) for value in values)


def _has_parts(value: object) -> bool:
    """Whether *value* is a map or a list, or may become one."""
    return isinstance(value, Mapping | list | pulumi.Output) or bool(attributes(type(value)))
