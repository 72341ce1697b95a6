"""Writes docs/configuration.md and docs/modes.md, from settings/."""

import ast
import inspect
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from pulumi_buildkit import ExternalTrafficPolicy, Protocol, Role, Routing, Security, ServiceType
from pulumi_buildkit.secret_layout import SecretLayout
from pulumi_buildkit.volume import VolumeKind

from settings import MODES, PROJECT, Mode, Settings, Traits

_DIRECTORY = Path(__file__).parent

_CONFIGURATION = """\
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

_MODES = """\
# Modes

<!-- Made from settings/modes.py by `make docs`. -->

What goes with each `buildkit:mode`. Anything else is an error at `pulumi preview`, which names the
key and the modes that it goes with.
"""

_NOTES = """
- **gateway**: `buildkit:gateway.enabled` says otherwise where there is a choice.
- **without it**: how clients come when there is no gateway. `kube-pod://` needs the right to
  `pods/exec` and to read pods, and no certificate.
- **pods**: `buildkit:replicas`. The claim of a Deployment belongs to all its pods, so that only one
  pod can have one; those of a StatefulSet have one each.
- **volume**: `buildkit:volume.kind`, the default first.
- **autoscaling**: `buildkit:autoscaling`: as many pods as the builds need, none while nobody
  builds. A Deployment with a claim can't.
"""

_KINDS = {"array": "list", "boolean": "`true`, `false`", "object": "map", "string": "text"}
_ENUMS: dict[str, type[Enum]] = {
    enum.__name__: enum
    for enum in (
        ExternalTrafficPolicy,
        Mode,
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


def configuration() -> str:
    """The page of the keys."""
    schema = Settings.model_json_schema()
    return "\n".join([_CONFIGURATION, *_section(schema, schema["$defs"], f"{PROJECT}:")])


def modes() -> str:
    """The page of the modes."""
    head = "| mode | gateway | without it | pods | volume | `buildkit:job` | autoscaling |"
    rows = [f"| `{mode.value}` | {' | '.join(_traits(of))} |" for mode, of in MODES.items()]
    return "\n".join([_MODES, head, "|---" * 7 + "|", *rows, _NOTES])


PAGES = {_DIRECTORY / "configuration.md": configuration, _DIRECTORY / "modes.md": modes}
"""What makes each page."""


def _traits(of: Traits) -> Iterator[str]:
    yield {True: "yes", False: "if enabled", None: "no"}[of.gateway]
    yield "none: it builds" if of.builds else "mTLS" if of.listens else "`kube-pod://`"
    yield (
        ("any number; one with a claim" if of.shared_claim else "any number")
        if of.replicas
        else "one"
    )
    yield ", ".join(f"`{kind.value}`" for kind in of.volumes) or "no"
    yield "to be given" if of.builds else "no"
    yield "yes" if of.autoscaling else "no"


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
    text, _, default = " ".join(field["description"].split()).partition(" Default: ")
    required = key in section.get("required", ())
    shown = "**to be given**" if required else default.rstrip(".") or _default(field["default"])
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


def _values(enum: type) -> Iterator[str]:
    """What each value of *enum* means, by the docstring below it."""
    (tree,) = ast.parse(inspect.getsource(enum)).body
    assert isinstance(tree, ast.ClassDef)
    for member, docstring in zip(tree.body, tree.body[1:], strict=False):
        match member, docstring:
            case (
                ast.Assign(value=ast.Constant(value=value)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield f"- `{value}`: {' '.join(text.split())}"


if __name__ == "__main__":
    for page, text in PAGES.items():
        page.write_text(text())
