"""docs/configuration.md: the keys of a stack."""

from collections.abc import Iterator
from enum import Enum
from typing import Any

from pulumi_buildkit import (
    ExternalTrafficPolicy,
    OtlpProtocol,
    Protocol,
    Role,
    Routing,
    Security,
    ServiceType,
)
from pulumi_buildkit.secret_layout import SecretLayout
from pulumi_buildkit.volume import VolumeKind

from docs.reference.docstrings import described, members
from settings import PROJECT, Mode, Settings

_HEAD = """\
# Configuration

<!-- Made from settings/ by `make docs`. -->

The keys of a stack, as they stand in `Pulumi.STACK.yaml`. A mistake in them ends `pulumi preview`
and `pulumi up` before anything is made, with one line for each. The least that works:

```yaml
config:
  buildkit:clients:
    dev: {}
```

[modes.md](modes.md) says what goes with which mode.
"""

_KINDS = {"array": "list", "boolean": "`true`, `false`", "object": "map", "string": "text"}
_ENUMS: dict[str, type[Enum]] = {
    enum.__name__: enum
    for enum in (
        ExternalTrafficPolicy,
        Mode,
        OtlpProtocol,
        Protocol,
        Role,
        Routing,
        SecretLayout,
        Security,
        ServiceType,
        VolumeKind,
    )
}

Schema = dict[str, Any]


def page() -> str:
    """The page of the keys."""
    schema = Settings.model_json_schema()
    return "\n".join([_HEAD, *_section(schema, schema["$defs"], f"{PROJECT}:")])


def _section(schema: Schema, definitions: Schema, path: str) -> Iterator[str]:
    """A table of the keys below *path*, what their values mean, and the sections below them."""
    yield f"## `{path.removesuffix('.')}`\n\n{schema['description']}\n"
    yield "| key | value | default | |\n|---|---|---|---|"
    fields = {key: _given(field) for key, field in schema["properties"].items()}
    for key, field in fields.items():
        yield _row(key, {**definitions.get(_definition(field), {}), **field}, schema)
    yield ""
    named = [(key, field, name) for key, field in fields.items() if (name := _definition(field))]
    for enum in dict.fromkeys(name for _, _, name in named if name in _ENUMS):
        keys = " and ".join(f"`{path}{key}`" for key, _, name in named if name == enum)
        yield f"{keys}:\n\n" + "\n".join(_values(_ENUMS[enum])) + "\n"
    for key, field, name in named:
        if name not in _ENUMS:
            below = f"{path}{key}.NAME." if "additionalProperties" in field else f"{path}{key}."
            yield from _section(definitions[name], definitions, below)


def _given(field: Schema) -> Schema:
    """*field*, where it is given."""
    match field:
        case {"anyOf": [given, {"type": "null"}], **rest}:
            return {**given, **rest}
        case _:
            return field


def _row(key: str, field: Schema, section: Schema) -> str:
    text, default = described(field["description"])
    required = key in section.get("required", ())
    shown = "**to be given**" if required else default or _default(field["default"])
    return f"| `{key}` | {_value(field)} | {shown} | {text} |"


def _default(value: Any) -> str:
    match value:
        case dict():
            return "see below"
        case []:
            return "none"
        case [*items]:
            return ", ".join(f"`{item}`" for item in items)
        case bool():
            return f"`{str(value).lower()}`"
        case str() | int():
            return f"`{value}`"
        case _:
            raise TypeError(f"no words for {value}")


def _value(field: Schema) -> str:
    """What may be written as the value."""
    match field:
        case {"enum": [*values], **rest}:
            list_of = "list of " if "items" in rest else ""
            return list_of + ", ".join(f"`{value}`" for value in values)
        case {"type": "integer", "minimum": least, "maximum": most}:
            return f"whole number, {least} to {most}"
        case {"format": kind}:
            return kind
        case {"type": kind}:
            return _KINDS[kind]
        case _:
            raise TypeError(f"no words for {field}")


def _definition(field: Schema) -> str:
    """What the schema calls the type of *field*, or of what is in it."""
    of = field.get("additionalProperties") or field.get("items") or field
    return of.get("$ref", "").rpartition("/")[2] if isinstance(of, dict) else ""


def _values(enum: type[Enum]) -> Iterator[str]:
    """What each value of *enum* means."""
    return (f"- `{enum[member.name].value}`: {member.text}" for member in members(enum))
