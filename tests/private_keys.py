"""Private keys in texts, however they are written there."""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping

_KEY = re.compile(r"-----BEGIN (?:EC )?PRIVATE KEY-----(?:\\+n|\s)+([A-Za-z0-9+/]{64})")
_MARK = "PRIVATE KEY-----"
_HEAD = 12
"""Characters before what is secret: what they say is the same in all keys of a kind."""


def private_keys(text: str) -> set[str]:
    """A secret part of each private key in a *text*, JSON or not: of its first line."""
    return {line[_HEAD:] for line in _KEY.findall(text)}


def found(keys: Iterable[str], texts: Mapping[str, str]) -> set[str]:
    """The names of those *texts* that have any of the *keys*, or say that they have another one.

    A key is found as PEM, in base64 once more, and in JSON or YAML of either.
    """
    forms = [form for key in (*keys, _MARK) for form in _forms(key)]
    return {name for name, text in texts.items() if any(form in text for form in forms)}


def _forms(key: str) -> Iterator[str]:
    yield key
    # Where it begins in what is encoded is unknown; what depends on its neighbours is cut off.
    for before in range(3):
        yield base64.b64encode(b" " * before + key.encode()).decode()[4:-4]
