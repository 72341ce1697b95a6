"""Commands of the pages, run as they stand by a user of a stack."""

import os
import shutil
import subprocess
from pathlib import Path

from lab.paths import REPO
from tests.lab.conftest import Installation
from tests.pages import block


def run(
    installation: Installation, directory: Path, page: str, words: str, **names: str
) -> subprocess.CompletedProcess[str]:
    """Run the block of a *page* that has these *words*, with what stands for *names* in it."""
    script = block("console", page, words)
    for placeholder, name in names.items():
        assert placeholder in script
        script = script.replace(placeholder, name)
    shutil.copy(REPO / "Pulumi.yaml", directory)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env={
            **os.environ,
            **installation.lab.engine.environment,
            "KUBECONFIG": str(installation.lab.node.kubeconfig),
            "PULUMI_STACK": installation.lab.stack().name,
        },
        capture_output=True,
        text=True,
    )


def said(installation: Installation, directory: Path, page: str, words: str, **names: str) -> str:
    """What it says, when it ends well."""
    done = run(installation, directory, page, words, **names)
    assert done.returncode == 0, done.stderr
    return done.stdout
