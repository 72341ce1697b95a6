"""Pulumi.lab.yaml, the file of the lab's own stack: beside Pulumi.dev.yaml, and not tracked.

`make up` writes it from Pulumi.dev.yaml and what the lab needs beyond that. What `pulumi config` or
an editor changes in it stays; keys that change in Pulumi.dev.yaml later are taken over.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab import LabError, files
from lab.first_build import SAMPLE_JOB
from settings import PROJECT, Mode

HEADER = """\
# The lab's stack: Pulumi.dev.yaml, and what the lab's node needs beyond it (a node port, the node's
# address, the registry). Made by `make up`, removed by `make down`; change it as you like.
"""


def update(file: Path, record: Path, wanted: Mapping[str, Any]) -> None:
    """Bring the stack *file* in line with the *wanted* configuration.

    The *record* has what was wanted the last time; without one the file is an earlier lab's.
    """
    if not record.exists() and file.exists():
        print(f"lab: {file.name} is of an earlier lab: it is written again", file=sys.stderr)
        file.unlink()
    content = read(file)
    before, now = read(record), content.get("config", {})
    changed = {key for key in before.keys() | wanted.keys() if before.get(key) != wanted.get(key)}
    kept = {key: value for key, value in now.items() if key not in changed}
    config = _with_a_job({**kept, **{key: wanted[key] for key in wanted if key in changed}})
    if config != now:
        files.write(file, HEADER + _dump({**content, "config": config}))
    files.write(record, _dump(wanted))


def _with_a_job(config: dict[str, Any]) -> dict[str, Any]:
    """Have a sample build in `mode: job` where none is named, and in no other mode."""
    if config.get(f"{PROJECT}:mode") == Mode.JOB.value:
        return {f"{PROJECT}:job": SAMPLE_JOB, **config}
    return {key: value for key, value in config.items() if value != SAMPLE_JOB}


def read(file: Path) -> dict[str, Any]:
    """What a stack file says; nothing where there is none.

    Raises:
        LabError: the file is not a stack file.
    """
    try:
        content = (yaml.safe_load(file.read_text()) or {}) if file.exists() else {}
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise LabError(f"{file.name} is not valid YAML: {reason}. Correct that line") from None
    if not isinstance(content, dict) or not isinstance(content.get("config", {}), dict):
        raise LabError(f"{file.name} is not a stack file: expected keys below `config:`")
    return content


def _dump(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False)
