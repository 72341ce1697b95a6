"""Stands in for the official random plugin: https://www.pulumi.com/registry/packages/random/."""

import base64
import secrets
import string
from collections.abc import Iterable
from typing import ClassVar

from pulumi.runtime.rpc import UNKNOWN

from lab.providers.computed import ComputedProvider, Failure, Properties, ResourceType
from lab.providers.server import serve

_CLASSES = {
    "lower": string.ascii_lowercase,
    "upper": string.ascii_uppercase,
    "numeric": string.digits,
    "special": "!@#$%&*()-_=+[]{}<>:?",
}


def _alphabets(inputs: Properties) -> dict[str, str]:
    special = inputs.get("overrideSpecial") or _CLASSES["special"]
    wanted = {**inputs, "numeric": inputs["numeric"] and inputs.get("number", True)}
    return {name: chars for name, chars in {**_CLASSES, "special": special}.items() if wanted[name]}


def _minimum(inputs: Properties, name: str) -> int:
    return inputs.get(f"min{name.capitalize()}", 0)


def _string(inputs: Properties) -> tuple[str, Properties]:
    alphabets = _alphabets(inputs)
    chosen = [
        secrets.choice(chars)
        for name, chars in alphabets.items()
        for _ in range(_minimum(inputs, name))
    ]
    every = "".join(alphabets.values())
    chosen += [secrets.choice(every) for _ in range(inputs["length"] - len(chosen))]
    secrets.SystemRandom().shuffle(chosen)
    result = "".join(chosen)
    return result, {"result": result}


def _password(inputs: Properties) -> tuple[str, Properties]:
    return "none", _string(inputs)[1]  # ids are not encrypted, so not the password


def _string_failures(inputs: Properties) -> Iterable[Failure]:
    length = inputs.get("length", 0)
    if length == UNKNOWN:
        return
    needed = max(1, sum(_minimum(inputs, name) for name in _CLASSES))
    if length < needed:
        yield "length", f"length: {length} is invalid: expected at least {needed}"
    if not _alphabets(inputs):
        yield "lower", "no character is allowed: set one of lower, upper, numeric, special to true"


def _id(inputs: Properties) -> tuple[str, Properties]:
    value = secrets.token_bytes(inputs["byteLength"])
    prefix = inputs.get("prefix", "")
    url = base64.urlsafe_b64encode(value).decode().rstrip("=")
    forms = {
        "b64Url": url,
        "b64Std": base64.b64encode(value).decode(),
        "hex": value.hex(),
        "dec": str(int.from_bytes(value, "big")),
    }
    return url, {name: prefix + form for name, form in forms.items()}


def _id_failures(inputs: Properties) -> Iterable[Failure]:
    length = inputs.get("byteLength", 0)
    if length != UNKNOWN and length < 1:
        yield "byteLength", f"byteLength: {length} is invalid: expected at least 1"


_STRING_DEFAULTS = dict.fromkeys(_CLASSES, True)


class Random(ComputedProvider):
    """Random values, which stay the same until an input changes."""

    package = "random"
    types: ClassVar = {
        "random:index/randomString:RandomString": ResourceType(
            _string, ("result",), _STRING_DEFAULTS, failures=_string_failures
        ),
        "random:index/randomPassword:RandomPassword": ResourceType(
            _password,
            ("result",),
            _STRING_DEFAULTS,
            secrets=frozenset({"result"}),
            failures=_string_failures,
        ),
        "random:index/randomId:RandomId": ResourceType(
            _id, ("b64Std", "b64Url", "dec", "hex"), {}, failures=_id_failures
        ),
    }


if __name__ == "__main__":
    serve(Random())
