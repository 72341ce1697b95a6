"""Kubernetes quantities as numbers."""

from decimal import Decimal

import pytest
from pulumi_buildkit.quantity import number


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("0", "0"),
        ("2", "2"),
        ("1.5", "1.5"),
        ("2.", "2"),
        (".5", "0.5"),
        ("500m", "0.5"),
        ("250u", "0.00025"),
        ("100n", "0.0000001"),
        ("4k", "4000"),
        ("50M", "50000000"),
        ("1Ki", "1024"),
        ("50Gi", str(50 * 1024**3)),
        ("1.5Ti", str(3 * 1024**4 // 2)),
        ("1Pi", str(1024**5)),
        ("7Ei", str(7 * 1024**6)),
        ("1E", "1000000000000000000"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("5e-1", "0.5"),
        ("12e+6", "12000000"),
    ],
)
def test_a_quantity_is_what_kubernetes_takes_it_for(quantity: str, value: str) -> None:
    assert number(quantity) == Decimal(value)


@pytest.mark.parametrize(
    "quantity",
    ["", "Gi", ".", "50gi", "50GB", "50 Gi", " 50Gi", "50Gi ", "-1", "+1", "1e", "1e3Gi", "0x10"],
)
def test_what_is_no_quantity_is_refused_with_the_way_to_write_one(quantity: str) -> None:
    with pytest.raises(ValueError, match=r"is no quantity; write one as 500m, 2 or 50Gi"):
        number(quantity)
