"""What the writer of a configuration is told of a mistake in it: one line each."""

import difflib
import json
import re
import reprlib
from typing import NamedTuple, get_args, get_origin

from pydantic_core import ErrorDetails

from settings.section import Section, section_of
from settings.stack import PROJECT, Settings

Place = tuple[int | str, ...]
"""Where a value stands: keys as they are written, names in maps, positions in lists."""

NO_LIST = "is no list; write its items below it, one a line, each after a hyphen"
NO_MAP = "is no map; write its keys below it, one a line"
NO_NAMES = "is no map; write its names below it, one a line, each followed by a colon"
NO_TEXT = "is no text; put it in quotes"
NO_TRUTH_VALUE = "is neither true nor false; write one of them"
NO_WHOLE_NUMBER = "is no whole number; write one, as 2"


class Mistake(NamedTuple):
    """A value that can't be used."""

    place: Place
    complaint: str
    """What is wrong, what is allowed, and what to do."""
    value: object = None
    """The value, unless it says nothing: none, or a whole map."""


def line(mistake: Mistake, secret_keys: frozenset[str] = frozenset()) -> str:
    """The line for *mistake*; the values of *secret_keys* are nobody's business."""
    place, complaint, value = mistake
    hidden = value is None or isinstance(value, dict) or _is_private(mistake, secret_keys)
    shown = "" if hidden else f" {_SHORT.repr(value)}:"
    return f"{PROJECT}:{_path(place)}:{shown} {complaint}"


def _is_private(mistake: Mistake, secret_keys: frozenset[str]) -> bool:
    # A key may stand at the wrong place, too.
    is_key = mistake.place == ("certificates", "key") or "PRIVATE KEY-" in str(mistake.value)
    return is_key or mistake.place[0] in secret_keys


def mistake(details: ErrorDetails) -> Mistake:
    """What pydantic found wrong with a single value."""
    return Mistake(_place(details), _complaint(details), details["input"])


def culprit(details: ErrorDetails) -> Place:
    """The place of the smallest value without which that is no mistake."""
    place = _place(details)
    return place[:-1] if details["type"] == "missing" else place


def in_order(mistakes: list[Mistake]) -> list[Mistake]:
    """*mistakes* in the order of the reference page."""
    keys = Settings.keys()
    return sorted(mistakes, key=lambda m: keys.index(k) if (k := m.place[0]) in keys else len(keys))


def listed(words: list[str]) -> str:
    """*words* as one says them: a, b or c."""
    *most, final = words
    return f"{', '.join(most)} or {final}" if most else final


# What is wrong and what to do, by pydantic's name for the mistake, with that mistake's figures.
_ADVICE = {
    "bool_parsing": NO_TRUTH_VALUE,
    "bool_type": NO_TRUTH_VALUE,
    "dict_type": NO_NAMES,
    "enum": "is none of its values; take {expected}",
    "finite_number": NO_WHOLE_NUMBER,
    "greater_than_equal": "is too small; take {ge} or more",
    "int_from_float": NO_WHOLE_NUMBER,
    "int_parsing": NO_WHOLE_NUMBER,
    "int_parsing_size": NO_WHOLE_NUMBER,
    "int_type": NO_WHOLE_NUMBER,
    "less_than_equal": "is too large; take {le} or less",
    "list_type": NO_LIST,
    "missing": "is missing; write it",
    "model_type": NO_MAP,
    "string_type": NO_TEXT,
    "string_unicode": NO_TEXT,
    "too_short": "is empty; write one item at least",
}

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def _place(details: ErrorDetails) -> Place:
    place = details["loc"]
    # A name in a map is wrong: pydantic adds this to it.
    return place[:-1] if place[-1] == "[key]" and len(place) > 1 else place


def _complaint(details: ErrorDetails) -> str:
    if details["type"] == "extra_forbidden":
        return _unknown_key(details["loc"])
    advice = _ADVICE.get(details["type"])
    return advice.format(**details.get("ctx", {})) if advice else details["msg"]


def _unknown_key(place: Place) -> str:
    """What to write instead of the key at *place*."""
    keys = _section_at(place[:-1]).keys()
    close = difflib.get_close_matches(str(place[-1]), keys, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"is no key; {meant}the keys are {', '.join(keys)}"


def _section_at(place: Place) -> type[Section]:
    section: type[Section] = Settings
    parts = iter(place)
    for key in parts:
        annotation = next(f for f in section.model_fields.values() if f.alias == key).annotation
        below = section_of(annotation)
        assert below is not None, place
        section = below
        if {dict, list} & {*map(get_origin, (annotation, *get_args(annotation)))}:
            # The next part is a name, or a position.
            next(parts)
    return section


def _path(place: Place) -> str:
    """The key at *place*, as `pulumi config set --path` takes it."""
    return "".join(
        f".{part}"
        if isinstance(part, str) and re.fullmatch(r"[\w-]+", part, re.ASCII)
        else f"[{json.dumps(part)}]"
        for part in place
    ).removeprefix(".")
