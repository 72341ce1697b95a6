"""Writes docs/configuration.md, the reference of the stack's keys, from settings.py."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import settings

PAGE = Path(__file__).parent / "configuration.md"

_HEAD = """\
# Configuration

<!-- Made from settings.py by `make docs`. -->

The keys of a stack, as they stand in `Pulumi.STACK.yaml`. A mistake in them ends `pulumi preview`
and `pulumi up` before anything is made, with one line for each. The least that works:

```yaml
config:
  buildkit:clients:
    dev: {}
```
"""

_KINDS = {"array": "list", "boolean": "`true`, `false`", "object": "map", "string": "text"}

Schema = dict[str, Any]


def page() -> str:
    """The whole page."""
    schema = settings.Settings.model_json_schema()
    return "\n".join([_HEAD, *_section(schema, schema["$defs"], f"{settings.PROJECT}:")])


def _section(schema: Schema, definitions: Schema, path: str) -> Iterator[str]:
    """A table of the keys below *path*, what their values mean, and the sections below them."""
    yield f"## `{path.removesuffix('.')}`\n\n{schema['description']}\n"
    if not schema["properties"]:
        return
    yield "| key | value | default | |\n|---|---|---|---|"
    for key, field in schema["properties"].items():
        known = {**definitions.get(_definition(field), {}), **field}
        yield _row(key, known, key in schema.get("required", ()))
    yield ""
    named = [(k, f, n) for k, f in schema["properties"].items() if (n := _definition(f))]
    for key, _, name in named:
        if "enum" in definitions[name]:
            values = _values(getattr(settings, name))
            yield f"`{path}{key}`:\n\n" + "\n".join(values) + "\n"
    for key, field, name in named:
        if "properties" in definitions[name]:
            below = f"{path}{key}.NAME." if "additionalProperties" in field else f"{path}{key}."
            yield from _section(definitions[name], definitions, below)


def _row(key: str, field: Schema, required: bool) -> str:
    text, _, default = " ".join(field["description"].split()).partition(" Default: ")
    shown = "**to be given**" if required else default.rstrip(".") or _default(field)
    return f"| `{key}` | {_value(field)} | {shown} | {text} |"


def _default(field: Schema) -> str:
    value = field["default"]
    if isinstance(value, dict):
        return "see below"
    return (
        f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != [] else "none"
    )


def _value(field: Schema) -> str:
    """What may be written as the value."""
    match field:
        case {"anyOf": [given, {"type": "null"}]}:
            return _value(given)
        case {"enum": [*values]}:
            return ", ".join(f"`{value}`" for value in values)
        case {"type": "integer", "minimum": least, "maximum": most}:
            return f"whole number, {least} to {most}"
        case {"type": kind}:
            return _KINDS[kind]
        case _:
            raise TypeError(f"no words for {field}")


def _definition(field: Schema) -> str:
    return field.get("additionalProperties", field).get("$ref", "").rpartition("/")[2]


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
    PAGE.write_text(page())
