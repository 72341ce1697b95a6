"""A private key is found in whatever it is written, or the lab's tests would find none."""

import base64
import json
from collections.abc import Callable

import pytest
import yaml
from cryptography.hazmat.primitives import serialization

from tests.own_certificate import own_certificate
from tests.private_keys import found, private_keys

PKCS8 = own_certificate("one").key
EC = (
    serialization.load_pem_private_key(PKCS8.encode(), None)
    .private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    .decode()
)


def encoded(pem: str) -> str:
    return base64.b64encode(pem.encode()).decode()


@pytest.mark.parametrize("pem", [PKCS8, EC], ids=["PKCS 8", "EC"])
@pytest.mark.parametrize(
    "written",
    [
        str,
        json.dumps,
        lambda pem: json.dumps(json.dumps(pem)),
        lambda pem: yaml.safe_dump({"key": pem}),
        encoded,
        lambda pem: encoded(f"-{pem}"),
        lambda pem: encoded(f"--{pem}"),
    ],
)
def test_a_key_is_found_in_whatever_it_is_written(pem: str, written: Callable[[str], str]) -> None:
    without_mark = pem.replace("PRIVATE", "PUBLIC")
    other = own_certificate("other").key.replace("PRIVATE", "PUBLIC")
    texts = {"it": f"before {written(without_mark)} after", "none": written(other)}
    assert found(private_keys(pem), texts) == {"it"}


@pytest.mark.parametrize("written", [json.dumps, encoded])
def test_a_key_that_nobody_knows_is_found_by_its_mark(written: Callable[[str], str]) -> None:
    assert found((), {"it": written(own_certificate("other").key)}) == {"it"}


@pytest.mark.parametrize(
    "written",
    [
        str,
        json.dumps,
        lambda pem: json.dumps(json.dumps(pem)),
        lambda pem: yaml.safe_dump({"key": pem}),
    ],
)
def test_each_key_of_a_text_is_known(written: Callable[[str], str]) -> None:
    other = own_certificate("other").key
    text = f"{written(PKCS8)} {written(other)}"
    assert private_keys(text) == private_keys(PKCS8) | private_keys(other)
    assert len(private_keys(text)) == 2


def test_a_certificate_has_no_private_key() -> None:
    certificate = own_certificate("one").cert
    assert not private_keys(certificate)
    assert not found(private_keys(PKCS8), {"certificate": certificate})
