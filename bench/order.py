"""The order in which things are measured."""

from collections.abc import Sequence
from typing import TypeVar

_Item = TypeVar("_Item")


def rotated(items: Sequence[_Item], number: int) -> list[_Item]:
    """The same items, starting with another one each time: none is always the first."""
    first = number % len(items)
    return [*items[first:], *items[:first]]
