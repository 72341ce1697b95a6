"""No private key that is made gets anywhere but into Secrets, and encrypted into the state."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Installation, install, stack_of
from tests.private_keys import found, private_keys

NEW = "new-client"
KINDS = "configmaps,pods,deployments,statefulsets,jobs,services,events,persistentvolumeclaims"


@dataclass(frozen=True)
class Said:
    """What an update and a build left behind."""

    keys: set[str]
    """All that the stack ever made and still has."""
    texts: dict[str, str]
    """What people read, by what it is."""
    secrets: set[str]
    """The keys in the namespace's Secrets."""


def in_secrets(secrets: dict[str, Any]) -> set[str]:
    values = [value for item in secrets["items"] for value in item.get("data", {}).values()]
    return private_keys("\n".join(base64.b64decode(value).decode() for value in values))


def state(directory: Path, stack: str) -> dict[str, str]:
    """The engine's files of a *stack*, or those of its directory."""
    return {
        f"state file {file}": file.read_text(errors="replace")
        for file in directory.rglob("*")
        if file.is_file() and not file.is_symlink() and stack in re.split(r"[/.]", str(file))
    }


@pytest.fixture(scope="module")
def said(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Said]:
    """An update that makes a client's key, a build by that client, and all that is said then."""
    lab = installation.lab
    stack = stack_of(installation, {"buildkit:clients": {NEW: {}}})
    texts = {"pulumi preview --diff": stack.preview("--diff")}
    texts["pulumi up --diff"] = stack.up("--diff")
    new = install(lab, stack.outputs(), tmp_path_factory.mktemp(NEW), NEW)
    built = new.build("keys", NEW)
    texts["buildctl build"] = built.stdout + built.stderr
    for command in (("stack",), ("stack", "output", "--json"), ("stack", "export")):
        texts[f"pulumi {' '.join(command)}"] = stack.cli(*command)
    for pod in new.kubectl("get", "pods", "--output=name").split():
        texts[f"log of {pod}"] = new.kubectl("logs", pod, "--all-containers")
    texts[KINDS] = new.kubectl("get", KINDS, "--output=yaml")
    for part in (".pulumi", f"projects/{lab.name}"):
        texts |= state(lab.engine.state / part, lab.name)
    yield Said(
        keys=private_keys(stack.cli("stack", "export", "--show-secrets")),
        texts=texts,
        secrets=in_secrets(json.loads(new.kubectl("get", "secrets", "--output=json"))),
    )
    back = lab.stack()
    back.up()


def test_every_key_that_was_made_is_known(said: Said) -> None:
    # Those of the CA, the server, two clients, the CA behind the gateway, buildkitd, the gateway:
    # as the provider makes them, and in PKCS 8.
    assert len(said.keys) == 2 * 7
    # All but the CAs' own.
    assert said.secrets <= said.keys
    assert len(said.secrets) == 5


def test_no_key_is_in_what_people_read(said: Said) -> None:
    for kind in ("pulumi stack", "buildctl", "log of pod/buildkitd", "state file"):
        assert any(name.startswith(kind) for name in said.texts), [*said.texts]
    assert all(said.texts[kind] for kind in ("pulumi up --diff", "pulumi stack export", KINDS))
    assert not found(said.keys, said.texts)
