"""The overlay of a pod or a Service, against what Kubernetes knows."""

import difflib
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from pulumi_buildkit._api import field
from pulumi_buildkit._overlay_rules import SERVICES, Target
from pulumi_buildkit.overlay import DIRECTIVE, MERGE_KEYS, POD, SERVICE, merge_key
from pulumi_buildkit.quantity import number

from settings.mistakes import NO_LIST, NO_NAMES, NO_TEXT, NO_TRUTH_VALUE, NO_WHOLE_NUMBER, Place
from settings.quantities import NO_QUANTITY

Complaint = tuple[Place, str]

QUANTITIES = frozenset({"divisor", "limits", "overhead", "requests", "sizeLimit"})
"""The fields that hold quantities: Kubernetes' client takes them for texts."""

# What is there already: the overlay says a part of it only.
_THERE = frozenset({"V1PodTemplateSpec", "V1PodSpec", "V1Service", "V1ServiceSpec"})
# All that can be set of an object's metadata, and of a Service.
_ALLOWED = {"V1ObjectMeta": ("labels", "annotations"), "V1Service": ("metadata", "spec")}
# A running pod is given these, and no template has them.
_OF_RUNNING_PODS = frozenset({"ephemeralContainers"})
_WITH_IMAGE = ("containers", "initContainers")
_TOO_LARGE = 2**63


def mistakes(overlay: dict[str, Any], base: object, target: Target) -> Iterator[Complaint]:
    """Where *overlay*, which is laid over *base*, can't be as it is, and what to do."""
    is_service = target in SERVICES
    root, kind = (SERVICE, "V1Service") if is_service else (POD, "V1PodTemplateSpec")
    for place, complaint in _of_map(kind, overlay, (root,)):
        yield place[1:], complaint
    for place in _without_image(overlay.get("spec"), field(base, "spec")):
        yield ("spec", *place, "image"), "is missing; write it"


def _without_image(spec: object, own: object) -> Iterator[Place]:
    """The containers in *spec* that are new, and have no image."""
    for key in _WITH_IMAGE:
        there = [field(each, "name") for each in field(own, key) or ()]
        given = spec.get(key) if isinstance(spec, dict) else None
        for at, item in enumerate(given if isinstance(given, list) else ()):
            is_new = isinstance(item, dict) and item.get("name") not in there
            if is_new and DIRECTIVE not in item and item.get("image") is None:
                yield key, at


class _Scalar(NamedTuple):
    fits: Callable[[Any], bool]
    complaint: str


def _is_text(value: Any) -> bool:
    # JSON can say half a character, which no API server takes.
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _TOO_LARGE


def _is_quantity(value: Any) -> bool:
    try:
        return not isinstance(value, bool | list | dict) and number(str(value)) < _TOO_LARGE
    except ValueError:
        return False


_SCALARS = {
    "bool": _Scalar(lambda value: isinstance(value, bool), NO_TRUTH_VALUE),
    "int": _Scalar(_is_whole, NO_WHOLE_NUMBER),
    "object": _Scalar(
        lambda value: _is_whole(value) or _is_text(value),
        "is neither a number nor a name; write one of them",
    ),
    "quantity": _Scalar(_is_quantity, NO_QUANTITY),
    "str": _Scalar(_is_text, NO_TEXT),
}


def _of_map(kind: str, value: Any, place: Place) -> Iterator[Complaint]:
    """The mistakes in *value* as what Kubernetes' client calls *kind*."""
    if not isinstance(value, dict):
        yield place, "is no map; write its fields below it, one a line"
        return
    fields = _fields(kind)
    for name, inner in value.items():
        if name == DIRECTIVE and not _is_item(place, keyed=False):
            yield from _of_directive(value, place)
        elif name not in fields:
            yield (*place, name), _unknown(name, [*fields], place)
        elif inner is not None:
            yield from _of_field(fields[name], inner, (*place, name))
    for name in _wanted(kind, value, place):
        if value.get(name) is None:
            yield (*place, name), "is missing; write it"


def _of_field(kind: str, value: Any, place: Place) -> Iterator[Complaint]:
    """The mistakes in *value* of a type as Kubernetes' client writes it, as `dict[str, int]`."""
    outer, _, inner = kind.removesuffix("]").rpartition("[")
    if outer == "list":
        yield from _of_list(inner, value, place)
    elif outer == "dict":
        yield from _of_names(inner.removeprefix("str, "), value, place)
    elif inner not in _SCALARS:
        yield from _of_map(inner, value, place)
    elif not _SCALARS[inner].fits(value):
        yield place, _SCALARS[inner].complaint


def _of_names(kind: str, value: Any, place: Place) -> Iterator[Complaint]:
    if not isinstance(value, dict):
        yield place, NO_NAMES
        return
    for name, inner in value.items():
        if name == DIRECTIVE:
            yield from _of_directive(value, place)
        elif not _is_text(name):
            yield (*place, name), _SCALARS["str"].complaint
        elif inner is not None:
            yield from _of_field(kind, inner, (*place, name))


def _of_list(kind: str, value: Any, place: Place) -> Iterator[Complaint]:
    if not isinstance(value, list):
        yield place, NO_LIST
        return
    key = _key(place)
    seen: list[Any] = []
    for index, item in enumerate(value):
        yield from _of_field(kind, item, (*place, index))
        if key and isinstance(item, dict) and (name := item.get(key)) is not None:
            if name in seen:
                yield (*place, index, key), "is there twice; write one item"
            seen.append(name)
        if place[-1] == "volumes" and isinstance(item, dict) and DIRECTIVE not in item:
            yield from _of_sources(item, (*place, index))


def _of_sources(volume: dict[str, Any], place: Place) -> Iterator[Complaint]:
    sources = [name for name, value in volume.items() if name != "name" and value is not None]
    if len(sources) != 1:
        there = " and ".join(sources) or "nothing"
        yield place, f"is {there}; write one thing that it is, as emptyDir: {{}}"


def _of_directive(value: dict[str, Any], place: Place) -> Iterator[Complaint]:
    allowed = ["delete", "replace"] if _is_item(place) else ["replace"]
    if value[DIRECTIVE] not in allowed:
        yield (*place, DIRECTIVE), f"is none of its values; take {' or '.join(allowed)}"
    elif _is_item(place) and value[DIRECTIVE] == "replace" and len(value) > 1:
        yield (*place, DIRECTIVE), "is about the whole list; write it as an item of its own"


def _is_item(place: Place, keyed: bool = True) -> bool:
    """Whether *place* is in a list, one of those whose items are merged if *keyed*."""
    return bool(place) and isinstance(place[-1], int) and (str(place[-2]) in MERGE_KEYS) is keyed


def _unknown(field: str, known: list[str], place: Place) -> str:
    close = difflib.get_close_matches(field, known, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    where = ".".join(part for part in place if isinstance(part, str))
    # Some have more than a line holds.
    there = f"they are {', '.join(known)}" if len(known) < 12 else f"see `kubectl explain {where}`"
    return f"is no field that can be set; {meant}{there}"


def _wanted(kind: str, value: dict[str, Any], place: Place) -> list[str]:
    """The fields that *value* can't do without."""
    if not _is_item(place):
        return sorted(_required(kind))
    key = _key(place[:-1])
    directive = value.get(DIRECTIVE)
    if directive is not None:
        return [key] if directive == "delete" and key else []
    return sorted({key or "", *_required(kind)} - {""})


def _key(place: Place) -> str | None:
    """What tells the items of the list at *place* apart."""
    return merge_key(str(place[0]), str(place[-1]))


@cache
def _fields(kind: str) -> dict[str, str]:
    """The types of the fields of *kind*, by their names in Kubernetes."""
    model = getattr(_client().models, kind)
    types = {name: model.openapi_types[own] for own, name in model.attribute_map.items()}
    for name in QUANTITIES.intersection(types):
        types[name] = "quantity".join(types[name].rsplit("str", 1))
    allowed = _ALLOWED.get(kind, types.keys() - _OF_RUNNING_PODS)
    return {name: types[name] for name in types if name in allowed}


@cache
def _required(kind: str) -> frozenset[str]:
    """The fields that *kind* has to have, unless it is there already: the client insists on it."""
    if kind in _THERE:
        return frozenset()
    model, configuration = getattr(_client().models, kind), _client().Configuration()
    configuration.client_side_validation = False
    empty = model(local_vars_configuration=configuration)
    configuration.client_side_validation = True

    def insists(attribute: str) -> bool:
        try:
            setattr(empty, attribute, None)
        except ValueError:
            return True
        return False

    return frozenset(name for own, name in model.attribute_map.items() if insists(own))


def _client() -> Any:
    # Half a second, which a stack without an overlay shall not pay.
    from kubernetes import client

    return client
