"""docs/components.md: the library, as a Python program uses it."""

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from functools import partial
from typing import Any

import pulumi
import pulumi_buildkit

from docs.reference.docstrings import Member, described, members
from tests.contract.cases import CASES
from tests.recording import record

_HEAD = """\
# Components

<!-- Made from components/ by `make docs`. -->

What `import pulumi_buildkit` gives. Each component takes a name, its arguments as a dictionary, and
Pulumi's resource options:

```python
from pulumi_buildkit import UserNamespaces

UserNamespaces("sysctl-userns", {"namespace": "builds"})
```

`Input[…]` takes a value, or another resource's output. Sizes are Kubernetes quantities, as `40Gi`.
In the other languages of Pulumi the names are in camelCase (`server_secret` is `serverSecret`), and
a value of an enum is written as it stands here in quotation marks.
"""

_PUBLIC: dict[str, Any] = {name: getattr(pulumi_buildkit, name) for name in pulumi_buildkit.__all__}
_COMPONENTS = [
    name
    for name, public in _PUBLIC.items()
    if inspect.isclass(public) and issubclass(public, pulumi.ComponentResource)
]


def page() -> str:
    """The page of the components, and of what their arguments and outputs consist of."""
    types = dict.fromkeys(
        found
        for component in _COMPONENTS
        for part in (f"{component}Args", component)
        for found in _types(part)
    )
    return "\n".join(
        [
            _HEAD,
            *(line for component in _COMPONENTS for line in _component(component)),
            "## Types\n",
            *(line for name in types for line in _type(name)),
            "## Functions and constants\n",
            *(_other(name) for name, public in _PUBLIC.items() if not inspect.isclass(public)),
            "",
        ]
    )


def _types(owner: str) -> Iterator[str]:
    """What the attributes of *owner* consist of, and what that consists of."""
    for member in members(_PUBLIC[owner]):
        for name in re.findall(r"\w+", member.annotation):
            if name in _PUBLIC:
                yield name
                yield from _types(name)


def _component(name: str) -> Iterator[str]:
    yield f"## `{name}`\n\n{_docstring(name)}\n\n{_made(name)}\n"
    yield from _arguments(f"{name}Args")
    yield from _outputs(name)


def _made(component: str) -> str:
    """Which resources a component has, always and by its arguments."""
    variants = [
        {resource.type.rpartition(":")[2] for resource in record(partial(make, None)).resources}
        for case, make in CASES.items()
        if case.partition("-")[0] == component
    ]
    always = set.intersection(*variants) - {component}
    others = set.union(*variants) - always - {component}
    asked_for = f"; as its arguments ask, {_listed(others)}" if others else ""
    return f"It makes: {_listed(always)}{asked_for}."


def _listed(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _type(name: str) -> Iterator[str]:
    yield f"### `{name}`\n\n{_docstring(name)}\n"
    public = _PUBLIC[name]
    if issubclass(public, Enum):
        values = {member.name: member.text for member in members(public)}
        yield from (f'- `{name}.{v.name}`, `"{v.value}"`: {values[v.name]}' for v in public)
        yield ""
    else:
        yield from _arguments(name) if name.endswith("Args") else _outputs(name)


def _other(name: str) -> str:
    public = _PUBLIC[name]
    if isinstance(public, str):
        return f"- `{name}`: `{public}`"
    return f"- `{name}({', '.join(inspect.signature(public).parameters)})`: {_docstring(name)}"


def _docstring(name: str) -> str:
    text = inspect.getdoc(_PUBLIC[name]) or ""
    return re.sub(r"https://[^\s)]*[^\s).]", r"<\g<0>>", text)


def _arguments(name: str) -> Iterator[str]:
    yield "| argument | type | default | |\n|---|---|---|---|"
    for member in members(_PUBLIC[name]):
        text, default = described(member.text)
        required = not member.annotation.startswith("NotRequired")
        yield _row(member, "**to be given**" if required else default, text)
    yield ""


def _outputs(name: str) -> Iterator[str]:
    if outputs := [*members(_PUBLIC[name])]:
        yield "| output | type | |\n|---|---|---|"
        yield from (_row(output, output.text) for output in outputs)
        yield ""


def _row(member: Member, *cells: str) -> str:
    return f"| `{member.name}` | {_linked(member.annotation)} | {' | '.join(cells)} |"


def _linked(annotation: str) -> str:
    """A type as it is written, without what goes without saying, and with links to its parts."""
    given = re.sub(r"^NotRequired\[(.+)\]$", r"\1", annotation)
    short = re.sub(r"pulumi\.Output\[(.+)\]$", r"\1", given)
    parts = re.split(r"(\w+)", short.replace("pulumi.", "").removesuffix(" | None"))
    text = "".join(f"`[`{p}`](#{p.lower()})`" if p in _PUBLIC else p for p in parts)
    return f"`{text}`".replace("``", "")
