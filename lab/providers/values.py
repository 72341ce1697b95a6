"""Pulumi's property values as plain Python: secrets and unknowns are values of their own.

The wire form is a protobuf `Struct` in which special objects carry a signature key; see
https://github.com/pulumi/pulumi/blob/master/developer-docs/providers/implementers-guide.md.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lab.providers.stubs import struct_pb2

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"
_UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
# One marker a type; providers may answer with the string's for all of them.
_UNKNOWNS = {
    _UNKNOWN_STRING,
    "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
    "030794c1-ac77-496b-92df-f27374a8bd58",
    "e48ece36-62e2-4504-bad9-02848725956a",
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
}

Properties = dict[str, Any]
Message = Any  # what protobuf generates has no types


class _Unknown:
    """The type of `UNKNOWN`."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()
"""A value that only the update itself can tell."""


@dataclass(frozen=True)
class Secret:
    """A value that the state holds encrypted and the display hides."""

    value: Any


def decode(struct: Message) -> Properties:
    """The properties of a message, without its nulls."""
    return {
        key: _decode(value)
        for key, value in struct.fields.items()
        if value.WhichOneof("kind") != "null_value"
    }


def _decode(value: Message) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            return UNKNOWN if value.string_value in _UNKNOWNS else value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [_decode(item) for item in value.list_value.values]
        case "struct_value":
            fields = decode(value.struct_value)
            return Secret(fields.get("value")) if fields.get(_SIGNATURE) == _SECRET else fields
    return None


def encode(properties: Mapping[str, Any]) -> Message:
    """The message that carries the properties."""
    struct = struct_pb2.Struct()
    struct.update(_encode(properties))
    return struct


def _encode(value: Any) -> Any:
    if isinstance(value, Secret):
        return {_SIGNATURE: _SECRET, "value": _encode(value.value)}
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return _UNKNOWN_STRING if value is UNKNOWN else value


def plain(value: Any) -> Any:
    """The value with its secrets laid open, at every depth."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def leaves(value: Any) -> Iterator[Any]:
    """Every value inside, secrets as they are."""
    yield value
    if isinstance(value, Secret):
        yield from leaves(value.value)
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)


def has_unknown(value: Any) -> bool:
    """Whether any part is not known yet."""
    return any(leaf is UNKNOWN for leaf in leaves(value))


def has_secret(value: Any) -> bool:
    """Whether any part is a secret."""
    return any(isinstance(leaf, Secret) for leaf in leaves(value))
