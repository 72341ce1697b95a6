"""The stack files among the examples."""

from pathlib import Path
from typing import Any

import yaml

from tests.recording import REPO

STACKS = {
    file.name.removeprefix("Pulumi.").removesuffix(".yaml"): file
    for file in sorted((REPO / "examples" / "stacks").glob("Pulumi.*.yaml"))
}
"""Each by the name of its stack."""


def configuration(file: Path) -> dict[str, Any]:
    """The keys of a stack's *file*, without the project in front of them."""
    config = yaml.safe_load(file.read_text())["config"]
    return {key.removeprefix("buildkit:"): value for key, value in config.items()}
