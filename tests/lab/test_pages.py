"""Commands of the pages that are more than a word: run as they stand."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab import debian
from lab.paths import REPO
from tests.lab.conftest import Installation
from tests.lab.gateway_log import GatewayLog
from tests.pages import DOCS, blocks


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    """What the pages use, besides Pulumi's and Kubernetes' own."""
    debian.install({"jq"})


def said(installation: Installation, directory: Path, page: str, words: str) -> str:
    """What a block of a *page*, the one with these *words*, says to a user of the stack."""
    (block,) = [block.text for block in blocks("console", [DOCS / page]) if words in block.text]
    shutil.copy(REPO / "Pulumi.yaml", directory)
    stack = installation.lab.stack()
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=directory,
        env={
            **os.environ,
            **installation.lab.engine.environment,
            "KUBECONFIG": str(installation.lab.node.kubeconfig),
            "PULUMI_STACK": stack.name,
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def test_a_client_s_files_come_from_the_outputs(installation: Installation, tmp_path: Path) -> None:
    said(installation, tmp_path, "certificates.md", "for file in ca cert key")
    assert Installation(installation.lab, installation.outputs, tmp_path).is_let_in()


def test_a_build_and_its_bytes_are_told_from_the_log(
    installation: Installation, tmp_path: Path
) -> None:
    log = GatewayLog(installation)
    assert installation.build("told", "told from the log").returncode == 0
    lines = log.wait(2, rpc="/")
    expected = {
        "client": "spiffe://buildkit/client/dev",
        "builds": ["OK"],
        "bytes": sum(line["received"] for line in lines),
    }
    told = said(installation, tmp_path, "access.md", "group_by").splitlines()
    assert expected in [json.loads(line) for line in told]
