"""Kubernetes quantities (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/).

And the sizes of buildkitd.toml, which are more than that.
"""

import re
from decimal import Decimal
from typing import NamedTuple

_FORM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d{1,2}))?")
_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}

_PERCENTAGE = re.compile(r"(\d{1,18})%", re.ASCII)
# RAMInBytes of github.com/docker/go-units: all its units are powers of 1024, `GB` too.
_DISK_SPACE = re.compile(
    r"(\d+(?:\.\d*)?|\.\d+) ?(?:([kmgtp])(?:i?b)?|b)?", re.ASCII | re.IGNORECASE
)
# Kubernetes' fractions, which no size of a disk is. BuildKit's `m` is a mebibyte.
_FRACTIONS = ("n", "u", "m")


class DiskSpace(NamedTuple):
    """A size in buildkitd.toml: DiskSpace of BuildKit's cmd/buildkitd/config/gcpolicy.go."""

    bytes: int = 0
    percentage: int = 0
    """Of the file system that has the cache; 0: it is a number of bytes."""

    def __str__(self) -> str:
        """The form that buildkitd reads in every version: text, of bytes where it can be."""
        return f"{self.percentage}%" if self.percentage else str(self.bytes)


def number(quantity: str) -> Decimal:
    """What *quantity* says, in bytes, CPUs, or whatever it is a quantity of.

    Raises:
        ValueError: it is no quantity, or a negative one.
    """
    parts = _FORM.fullmatch(quantity)
    if parts is None:
        raise ValueError(f"{quantity!r} is no quantity; write one as 500m, 2 or 50Gi")
    digits, binary, decimal, exponent = parts.groups()
    scale = (
        Decimal(1024) ** (_BINARY.index(binary) + 1)
        if binary
        else Decimal(10) ** (int(exponent) if exponent else _DECIMAL.get(decimal, 0))
    )
    return Decimal(digits) * scale


def disk_space(text: str) -> DiskSpace:
    """What *text* says, as `80%`, `250GB` or `50Gi`: BuildKit's form, or a Kubernetes quantity.

    What is both, as `10G`, is the quantity: 10^9 bytes, and not 2^30.

    Raises:
        ValueError: it is neither.
    """
    if (share := _PERCENTAGE.fullmatch(text)) is not None:
        return DiskSpace(percentage=int(share[1]))
    if not text.endswith(_FRACTIONS) and _FORM.fullmatch(text):
        return DiskSpace(int(number(text)))
    if (size := _DISK_SPACE.fullmatch(text)) is None:
        raise ValueError(f"{text!r} is no size; write one as 50Gi, 50GB or 80%")
    digits, unit = size.groups()
    return DiskSpace(
        int(Decimal(digits) * 1024 ** (1 + "kmgtp".index(unit.lower()) if unit else 0))
    )
