"""`make client-certs`, as far as it goes without a lab."""

import stat
from pathlib import Path
from typing import Any

import pytest

from lab import LabError
from lab.client import write_certificates

OUTPUTS = {
    "clients": {
        "dev": {"ca": "the CA", "cert": "dev's", "key": "dev's key"},
        "ci": {"ca": "the CA", "cert": "ci's", "key": "ci's key"},
    }
}


def test_a_client_gets_its_own_files_which_only_their_owner_reads(tmp_path: Path) -> None:
    write_certificates(OUTPUTS, "ci", tmp_path / "certs")
    files = {file.name: file for file in (tmp_path / "certs").iterdir()}
    texts = {name: file.read_text() for name, file in files.items()}
    assert texts == {"ca.pem": "the CA", "cert.pem": "ci's", "key.pem": "ci's key"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files.values()} == {0o600}


@pytest.mark.parametrize(
    ("outputs", "complaint"),
    [
        (OUTPUTS, "CLIENT=nobody is not in buildkit:clients; there are ci, dev"),
        ({"clients": {}}, "the stack makes no client's certificate"),
        ({}, "the stack makes no client's certificate"),
    ],
)
def test_a_client_that_has_no_certificate_gets_no_files(
    outputs: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(LabError, match=complaint):
        write_certificates(outputs, "nobody", tmp_path / "certs")
    assert not (tmp_path / "certs").exists()
