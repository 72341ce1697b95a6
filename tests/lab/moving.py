"""Who has a BuildKit already, and what docs/moving-in.md has them do."""

import subprocess
from dataclasses import dataclass
from typing import Any

from pulumi_buildkit import Security
from pulumi_buildkit.security import VARIANTS

from tests.lab.conftest import Installation
from tests.pages import block

PAGE = "moving-in.md"
IMAGE = VARIANTS[Security.ROOTLESS].image
VOLUME = {"kind": "claim", "storageClass": "lab", "size": "1Gi", "protect": False}


@dataclass(frozen=True)
class Old:
    """A BuildKit that was there before, and a client of it."""

    client: Installation
    names: dict[str, str]
    """What the page calls its objects."""

    def follow(self, words: str) -> None:
        """Do what the page says, in the block that has these *words*."""
        # Of docker, the lab has buildx alone.
        script = block("sh", PAGE, words).replace("docker buildx", "docker-buildx")
        done = subprocess.run(
            ["sh", "-euc", script],
            env={**self.client.environment, **self.names},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{script}\n{done.stderr}"


def claim_of(name: str) -> dict[str, Any]:
    """A claim in the lab's class."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "lab",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
