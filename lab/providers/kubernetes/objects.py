"""Pure rules over Kubernetes objects: normal form, comparison, secretness, field ownership."""

import base64
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice, zip_longest
from typing import Any, NamedTuple

from lab.providers.server import Change, Diff
from lab.providers.values import UNKNOWN, Properties, Secret, has_secret, has_unknown

Path = tuple[str | int, ...]

AUTONAMED = "pulumi.com/autonamed"
_READ_ONLY = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
)
_MISSING: Any = object()
_EMPTY = (False, 0, "", [], {})


def annotation(obj: Properties, name: str) -> str:
    """An annotation's value, or an empty string."""
    annotations = obj.get("metadata", {}).get("annotations")
    return annotations.get(name, "") if isinstance(annotations, dict) else ""


def is_set(obj: Properties, name: str) -> bool:
    """Whether an annotation says `true`."""
    return annotation(obj, name) == "true"


def group_of(obj: Properties) -> str:
    """The API group; the core group's name is empty."""
    return obj["apiVersion"].rpartition("/")[0]


def normalize(obj: Properties) -> Properties:
    """The form in which the server keeps it: no read-only metadata, `stringData` within `data`."""
    metadata = {k: v for k, v in (obj.get("metadata") or {}).items() if k not in _READ_ONLY}
    obj = {**obj, "metadata": metadata}
    text = obj.get("stringData")
    if obj.get("kind") != "Secret" or not isinstance(text, dict) or has_unknown(obj):
        return obj
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in text.items()}
    rest = {key: value for key, value in obj.items() if key != "stringData"}
    return {**rest, "data": {**obj.get("data", {}), **encoded}}


def prune(live: Any, shape: Any, before: Any = None) -> Any:
    """A live object cut to the fields that `shape` has: defaults and status are not the user's.

    An empty value of the shape that the server never kept, as `before` shows, stays.
    """
    if isinstance(live, dict) and isinstance(shape, dict):
        kept = before if isinstance(before, dict) else dict.fromkeys(shape)
        return {
            key: prune(live[key], wanted, kept.get(key)) if key in live else wanted
            for key, wanted in shape.items()
            if key in live or (wanted in _EMPTY and key not in kept)
        }
    if isinstance(live, list) and isinstance(shape, list):
        kept = before if isinstance(before, list) else []
        triples = zip_longest(live, shape, kept)
        return [prune(*triple) for triple in islice(triples, min(len(live), len(shape)))]
    return live


def compare(
    new: Properties,
    live: Properties,
    inputs: Properties,
    replacing: Iterable[tuple[str, ...]],
    ignore: Iterable[str] = (),
) -> Diff:
    """What an update from the live object, once applied from `inputs`, to the new inputs does."""
    diff, ignored = Diff(), [parse_path(path) for path in ignore]
    for path, change, value in _changes(new, prune(live, inputs), inputs, ()):
        if any(path[: len(prefix)] == prefix for prefix in ignored):
            continue
        text = format_path(path)
        diff.changes[text] = change
        if any(_touches(path, value, pattern) for pattern in replacing):
            diff.replaces.append(text)
    return diff


def _changes(new: Any, old: Any, was: Any, path: Path) -> Iterator[tuple[Path, Change, Any]]:
    if new is not _MISSING and old is not _MISSING and _same(new, old, path):
        return
    if isinstance(new, dict) and isinstance(old, dict):
        was = was if isinstance(was, dict) else {}
        for key in {**old, **new}:
            now, then, asked = (side.get(key, _MISSING) for side in (new, old, was))
            yield from _changes(now, then, asked, (*path, key))
    elif isinstance(new, list) and isinstance(old, list):
        was = was[: max(len(new), len(old))] if isinstance(was, list) else []
        triples = zip_longest(new, old, was, fillvalue=_MISSING)
        for index, (now, then, asked) in enumerate(triples):
            yield from _changes(now, then, asked, (*path, index))
    elif new is _MISSING and old is not _MISSING:
        yield path, Change.DELETE, None
    elif new is not _MISSING and old is not _MISSING:
        yield path, Change.UPDATE, new
    elif new is not _MISSING and not (new in _EMPTY and new == was):
        yield path, Change.ADD, new  # an empty value that the server dropped is no change


def _same(new: Any, old: Any, path: Path) -> bool:
    if new == old and type(new) is type(old):
        return True
    if not _QUANTITY_FIELDS.intersection(path):
        return False
    amounts = (_quantity(new), _quantity(old))
    return None not in amounts and amounts[0] == amounts[1]


_QUANTITY_FIELDS = frozenset({"limits", "requests", "hard", "capacity", "sizeLimit", "divisor"})
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkKMGTPE]?i?)")
_BINARY = {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}
_DECIMAL = {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)}
_UNITS = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **_BINARY,
    **_DECIMAL,
}


def _quantity(value: Any) -> Decimal | None:
    """https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/."""
    match = _QUANTITY.fullmatch(str(value))
    return Decimal(match[1]) * _UNITS[match[2]] if match and match[2] in _UNITS else None


def _touches(path: Path, value: Any, pattern: tuple[str, ...]) -> bool:
    """Whether a change at the path is one of the field that the pattern names, or contains it."""
    for step, wanted in zip(path, pattern, strict=False):
        if wanted != step and not (wanted == "*" and isinstance(step, int)):
            return False
    return _contains(value, pattern[len(path) :])


def _contains(value: Any, rest: tuple[str, ...]) -> bool:
    if not rest or value is UNKNOWN:
        return True
    if rest[0] == "*":
        return isinstance(value, list) and any(_contains(item, rest[1:]) for item in value)
    return isinstance(value, dict) and rest[0] in value and _contains(value[rest[0]], rest[1:])


def format_path(path: Path) -> str:
    """The path as Pulumi writes it: `spec.containers[0].image`, `metadata.labels["a.b/c"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.search(r'[."\[\]]', step):
            text += '["' + step.replace('"', '\\"') + '"]'
        else:
            text += f".{step}" if text else step
    return text


def parse_path(text: str) -> Path:
    """The reverse of `format_path`."""
    steps = re.findall(r'\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|([^.\[\]]+)', text)
    return tuple(
        int(index) if index else quoted.replace('\\"', '"') or word for quoted, index, word in steps
    )


def mark_secrets(obj: Any, source: Any) -> Any:
    """The object, secret where its source is secret; a Secret's data always is."""
    source = source.value if isinstance(source, Secret) else source
    if not isinstance(obj, dict):
        return obj
    marked = {}
    for key, value in obj.items():
        origin = source.get(key) if isinstance(source, dict) else None
        if obj.get("kind") == "Secret" and key in ("data", "stringData"):
            marked[key] = Secret(value)
        elif isinstance(value, dict) and not isinstance(origin, Secret):
            marked[key] = mark_secrets(value, origin)
        else:
            marked[key] = Secret(value) if has_secret(origin) else value
    return marked


# Field ownership: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management.


class Managers(NamedTuple):
    """Who owns which fields of an object."""

    ours: Properties
    theirs: list[Properties]


# An object is created by a plain POST, so that one that exists is never overwritten, and kubectl's
# users edit what Pulumi declares: both are taken over at the next update, as the official one does.
_TAKEN_OVER = ("kubectl", "before-first-apply", "pulumi-kubernetes", "pulumi-resource-kubernetes")


def managers(managed: list[Properties], manager: str) -> Managers:
    """The fields of one manager's applies, and those of each other one."""
    ours: Properties = {}
    theirs = []
    for entry in managed:
        fields = entry.get("fieldsV1", {})
        if entry["manager"] == manager and entry["operation"] == "Apply":
            ours = fields
        else:
            theirs.append(fields)
    return Managers(ours, theirs)


def take_over(managed: list[Properties], manager: str) -> list[Properties] | None:
    """The ownership after `manager` took what it and kubectl wrote; None when there is nothing."""
    taken = [entry for entry in managed if _is_taken(entry, manager)]
    if not taken:
        return None
    rest = [entry for entry in managed if entry not in taken]
    ours = next((entry for entry in rest if _is_apply(entry, manager)), None)
    fields: Properties = ours["fieldsV1"] if ours else {}
    for entry in taken:
        fields = _merge(fields, entry.get("fieldsV1", {}))
    merged = {**taken[-1], "manager": manager, "operation": "Apply", "fieldsV1": fields}
    return [*(entry for entry in rest if entry is not ours), merged]


def _is_apply(entry: Properties, manager: str) -> bool:
    return entry["manager"] == manager and entry["operation"] == "Apply"


def _is_taken(entry: Properties, manager: str) -> bool:
    by_kubectl = entry["manager"] == "kubectl"  # its server-side apply
    return (
        not entry.get("subresource")
        and not _is_apply(entry, manager)
        and entry["manager"].startswith(_TAKEN_OVER)
        and (entry["operation"] == "Update" or by_kubectl)
    )


def _merge(one: Properties, other: Properties) -> Properties:
    return {
        **one,
        **{key: _merge(one.get(key, {}), fields) for key, fields in other.items()},
    }


def keep_ignored(
    inputs: Properties, live: Properties, who: Managers, ignore: Iterable[str]
) -> Properties:
    """The inputs with each ignored field left to its owner, or as it is now where it is ours."""
    for path in map(parse_path, ignore):
        if any(_owns(fields, path) for fields in who.theirs) and not _owns(who.ours, path):
            inputs = _with(inputs, path, _MISSING)
        elif (value := _at(live, path)) is not _MISSING:
            inputs = _with(inputs, path, value)
    return inputs


def _owns(fields: Properties, path: Path) -> bool:
    for step in path:
        if f"f:{step}" not in fields:
            return False
        fields = fields[f"f:{step}"]
    return True


def _at(value: Any, path: Path) -> Any:
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return _MISSING
        value = value[step]
    return value


def _with(obj: Any, path: Path, value: Any) -> Any:
    """A copy with the value at the path; through maps only, as list items are owned by key."""
    first, *rest = path
    if not isinstance(obj, dict) or (value is _MISSING and first not in obj):
        return obj
    if rest:
        return {**obj, first: _with(obj.get(first, {}), tuple(rest), value)}
    others = {key: item for key, item in obj.items() if key != first}
    return others if value is _MISSING else {**others, first: value}
