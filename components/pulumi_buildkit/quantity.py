"""Kubernetes quantities (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/)."""

import re
from decimal import Decimal

_FORM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d{1,2}))?")
_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


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
