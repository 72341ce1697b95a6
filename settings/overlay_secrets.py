"""The Secrets that the overlay of a pod names, and the keys that it wants of them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from settings.mistakes import Place


class Mention(NamedTuple):
    """Where an overlay names a Secret."""

    place: Place
    name: str
    keys: tuple[tuple[Place, str], ...] = ()
    """What has to be in it, each with its own place."""
    optional: bool = False
    """Whether the pod starts without it."""


def mentions(overlay: Mapping[str, Any], place: Place) -> Iterator[Mention]:
    """Every Secret that *overlay*, which stands at *place*, names."""
    yield from _below(overlay.get("spec") or {}, (*place, "spec"))


def _below(value: Any, place: Place) -> Iterator[Mention]:
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from _below(item, (*place, at))
    elif isinstance(value, dict):
        for field, inner in value.items():
            yield from _named(field, inner, (*place, field))
            yield from _below(inner, (*place, field))


def _named(field: str, value: Any, place: Place) -> Iterator[Mention]:
    """The Secret that the *field* itself names, if it is one that does."""
    if field == "imagePullSecrets":
        # Without one the kubelet pulls as nobody, which may do.
        for at, item in enumerate(value or ()):
            if item.get("name"):
                yield Mention((*place, at, "name"), item["name"], optional=True)
    elif field in _NAMING and isinstance(value, dict):
        for key in _NAMES:
            if name := value.get(key):
                optional = bool(value.get("optional"))
                yield Mention((*place, key), name, tuple(_keys(value, place)), optional)


# The fields that are a Secret, or a part of one, and what they call it.
_NAMING = frozenset({"secret", "secretRef", "secretKeyRef"})
_NAMES = ("name", "secretName")


def _keys(value: Mapping[str, Any], place: Place) -> Iterator[tuple[Place, str]]:
    if key := value.get("key"):
        yield (*place, "key"), key
    for at, item in enumerate(value.get("items") or ()):
        if item.get("key"):
            yield (*place, "items", at, "key"), item["key"]
