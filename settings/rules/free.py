"""Maps whose keys are somebody else's: what nobody can write down, whatever they mean."""

import math
from collections.abc import Iterator
from typing import Any

from settings.mistakes import NO_TEXT, Mistake, Place

# Deeper than anything of BuildKit's or of a pod's.
_DEEPEST = 30


def unwritable(value: Any, place: Place) -> Iterator[Mistake]:
    """What in *value*, which stands at *place*, is no text, or no number, or too deep."""
    for at, leaf in leaves(value, place):
        if isinstance(leaf, dict | list):
            yield Mistake(place, f"is nested deeper than {_DEEPEST} levels; take fewer")
        if isinstance(leaf, float) and not math.isfinite(leaf):
            yield Mistake(at, "is no number; write one, as 2", leaf)
        texts = [part for part in (*at, leaf) if isinstance(part, str)]
        if any("\ud800" <= letter <= "\udfff" for text in texts for letter in text):
            yield Mistake(at, NO_TEXT, leaf)


def leaves(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """All that *value* has at the ends, with its place: what is no map and no list, or too deep."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        at = (*place, key)
        if isinstance(item, dict | list) and item and len(at) <= _DEEPEST:
            yield from leaves(item, at)
        elif not isinstance(item, dict | list) or item:
            yield at, item
