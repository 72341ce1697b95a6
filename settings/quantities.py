"""Kubernetes quantities and the sizes of buildkitd.toml, as checked values.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from typing import Annotated

from pulumi_buildkit.quantity import disk_space, number
from pydantic import BeforeValidator

from settings.values import check, shown_as

NO_QUANTITY = "is no quantity; write one, as 500m, 2 or 4Gi"
# Less is a unit forgotten, or `m`, which is a thousandth, and not a megabyte.
_LEAST = 1024**2
# Kubernetes takes no more for any of them.
_MOST = 2**63 - 1


def _is_quantity(value: str, least: int = 0) -> bool:
    try:
        return value.isascii() and least <= number(value) <= _MOST
    except ValueError:
        return False


def _is_disk_space(value: str) -> bool:
    try:
        size, percentage = disk_space(value)
    except ValueError:
        return False
    return value.isascii() and (size == 0 or _LEAST <= size <= _MOST) and percentage <= 100


def _as_text(value: object) -> object:
    """What YAML takes for a number, as it stands there."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


Quantity = Annotated[
    str,
    BeforeValidator(_as_text),
    check(_is_quantity, NO_QUANTITY),
    shown_as("quantity"),
]
Size = Annotated[
    str,
    BeforeValidator(_as_text),
    check(
        lambda value: _is_quantity(value, _LEAST),
        "is no size; write one of 1Mi at least with its unit, as 50Gi",
    ),
    shown_as("size"),
]
DiskSpace = Annotated[
    str,
    BeforeValidator(_as_text),
    check(
        _is_disk_space,
        "is not a valid size: expected 1Mi or more as 50Gi, 250GB or a number of bytes, a "
        "percentage as 80%, or 0",
    ),
    shown_as("size or percentage"),
]
