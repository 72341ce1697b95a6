"""Configurations of a stack, and what their writers get to see."""

import json
from typing import Any

import pulumi
import pytest

from settings import parse


def config(**keys: Any) -> dict[str, str]:
    """A configuration as Pulumi hands it over, with a client in it."""
    values = {"clients": {"dev": {}}, **keys}
    return {key: v if isinstance(v, str) else json.dumps(v) for key, v in values.items()}


def complaints(values: dict[str, str], secrets: frozenset[str] = frozenset()) -> list[str]:
    """The lines that the writer of *values* gets to see, but the heading."""
    with pytest.raises(pulumi.RunError) as error:
        parse(values, secrets)
    heading, *lines = str(error.value).split("\n")
    assert heading == "the stack's configuration can't be used:"
    return [line.removeprefix("  ") for line in lines]
