"""Whatever a configuration says: it is settings, or one line for each mistake."""

import json
import re
import string
import tomllib
from typing import Any, get_origin

import hypothesis
import pulumi
import pytest
import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st

from settings import Section, Settings, parse, section_of
from tests.complaints import complaints, config

WORDS = [
    *("http2", "NodePort", "rootless", "1234", "true", "docker.io", "[key]", "job", "pod"),
    *("statefulset", "claim", "emptyDir", "50Gi", "500m", "2", "tls", "mine", "linux/amd64"),
    *("cpu", "example.com/gpu", "Dockerfile", "a/b", "a", "image", "registry", "gateway.v0"),
    *("https://h/p.git", "git@h:p", "spiffe://x/y", "type", "push", "\ud800", "\0", "\u2028"),
]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS)
)


def keys_of(section: type[Section]) -> set[str]:
    below = filter(None, (section_of(field.annotation) for field in section.model_fields.values()))
    return {*section.keys()}.union(*map(keys_of, below))


NAMES = st.sampled_from([*sorted(keys_of(Settings)), *WORDS]) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values for a key of the type *annotation*: its own sections with anything in them, mostly."""
    section = section_of(annotation)
    if section is None:
        return SCALARS | VALUES
    keys = zip(section.keys(), section.model_fields.values(), strict=True)
    inner = st.fixed_dictionaries(
        {}, optional={key: values_of(field.annotation) for key, field in keys}
    )
    named = get_origin(annotation) is dict
    return (st.dictionaries(NAMES, inner, max_size=3) if named else inner) | VALUES


CONFIGURATIONS = st.fixed_dictionaries(
    {},
    optional={
        key: values_of(field.annotation).map(json.dumps)
        | st.sampled_from(WORDS)
        | st.text().map("{".__add__)
        | st.text(string.digits)
        for key, field in zip(Settings.keys(), Settings.model_fields.values(), strict=True)
    },
)
# Pulumi reads the stack's file as UTF-8; what a value escapes may be anything.
STACK_KEYS = NAMES.filter(lambda name: name != "\ud800")
# A key, then one below it, a name in quotes, or a position; then what is wrong.
LINE = re.compile(r"  buildkit:([\w-]+|\[\".*\"\])([.][\w-]+|\[\d+\]|\[\".*\"\])*: .*")


# Two cores may be busy: a slow example is no failure.
@hypothesis.settings(deadline=None)
@given(CONFIGURATIONS | st.dictionaries(STACK_KEYS, VALUES.map(json.dumps) | st.text()))
@example({"registries": '{"\\ud800": {"a": 1}}'})  # pydantic writes this name another way
def test_any_text_is_settings_or_one_line_for_each_mistake(values: dict[str, str]) -> None:
    try:
        settings = parse(values)
    except pulumi.RunError as error:
        _, *lines = str(error).split("\n")
        assert lines
        assert all(LINE.fullmatch(line) and line.isprintable() for line in lines)
    else:
        assert tomllib.loads(tomli_w.dumps(settings.buildkitd)) == settings.buildkitd


@pytest.mark.parametrize("key", ["buildkitd", "pod", "clients", "job"])
@pytest.mark.parametrize("depth", [40, 400, 40_000])
def test_what_is_nested_too_deep_is_one_line(key: str, depth: int) -> None:
    (line,) = complaints(config(**{key: '{"spec":' * depth + "1" + "}" * depth}))[:1]
    assert line.startswith(f"buildkit:{key}")
