"""The known keys of buildkitd.toml, against BuildKit's own source."""

import re
from collections.abc import Iterator
from typing import Any

from settings.buildkitd_toml import AGE, ANY_NAME, KNOWN, SIZE, TEXT, TRUTH, WHOLE
from tests.golden.upstream import module

# What Go's type of a field says of its value.
KINDS = {
    "bool": TRUTH,
    "*bool": TRUTH,
    "int": WHOLE,
    "*int": WHOLE,
    "*int64": WHOLE,
    "*uint64": WHOLE,
    "string": TEXT,
    "DiskSpace": SIZE,
    "Duration": AGE,
    "*Duration": AGE,
}


def leaves(kinds: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Each key that is no table, with what it takes."""
    match kinds:
        case dict():
            for key, inner in kinds.items():
                yield from leaves(inner, name if key == ANY_NAME else key)
        case [dict(tables)]:
            yield from leaves(tables, name)
        case [item]:
            yield name, f"list that {item.complaint}"
        case _:
            yield name, kinds.complaint


def kind(go: str) -> str:
    """What a field of Go's type *go* takes."""
    of_one = KINDS[go.removeprefix("[]").removeprefix("map[string]")].complaint
    return f"list that {of_one}" if go.startswith("[]") else of_one


def test_the_known_keys_are_those_of_buildkitd_with_their_types() -> None:
    files = ("cmd/buildkitd/config/config.go", "util/resolver/config/config.go")
    source = "".join((module() / file).read_text() for file in files)
    types = "|".join(map(re.escape, KINDS))
    fields = re.findall(
        rf"^\s+\w+\s+((?:\[\]|map\[string\])?(?:{types}))\s+`toml:\"([\w.-]+)", source, re.M
    )
    assert len(fields) > 60
    assert {(key, kind(go)) for go, key in fields} == {*leaves(KNOWN)}
