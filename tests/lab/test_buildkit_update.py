"""BuildKit goes from the version before to today's by one `pulumi up`, beneath four clients."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pulumi_buildkit import Security
from pulumi_buildkit.security import VARIANTS

from lab import build, image_store, lifecycle
from lab.node import Node
from tests.lab.conftest import Configured, Installation, Record, configuring
from tests.lab.load import load

pytestmark = pytest.mark.alone

AFTER = VARIANTS[Security.ROOTLESS].image
BEFORE = next(i.name for i in image_store.PREVIOUS_BUILDKIT if i.name.endswith("-rootless"))
CLAIM: dict[str, Any] = {
    "buildkit:volume": {"kind": "claim", "storageClass": "lab", "size": "1Gi", "protect": False}
}


@pytest.fixture(scope="module")
def configured(
    lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Configured]:
    """The lab's stack, on a node that has both versions."""
    tools = build.tools(build.PREVIOUS_BUILDKIT)
    images = image_store.images(tools, image_store.PREVIOUS_BUILDKIT)
    Node(tools, images, lab.node.at.state).import_images()
    yield from configuring(lab, tmp_path_factory.mktemp("update"))


def version(installation: Installation) -> str:
    """What buildkitd says of itself."""
    said = installation.buildctl("debug", "info", "--format={{json .}}").stdout
    return json.loads(said)["buildkitVersion"]["version"]


def test_an_update_of_buildkit_loses_no_build_and_keeps_cache_and_certificates(
    configured: Configured, record_property: Record
) -> None:
    installation = configured({**CLAIM, "buildkit:image": BEFORE})
    assert BEFORE.partition(":")[2].startswith(version(installation))
    greeting = f"cached since {time.time_ns()}"
    first = installation.build("update", greeting)
    assert first.returncode == 0, first.stderr
    gateways, certificates = installation.pods("buildkit-gateway"), installation.outputs["clients"]

    with load(installation, longest=10) as clients:
        clients.wait_until_each_has_built()
        updated = configured(CLAIM)
        clients.wait_until_each_has_built()

    record_property("builds", len(clients.builds))
    assert not clients.lost, str(clients)
    assert AFTER.partition(":")[2].startswith(version(updated))
    again = updated.build("update", greeting)
    assert again.returncode == 0, again.stderr
    assert '"$GREETING" > /greeting' in again.stderr
    assert again.stderr.count("CACHED") > first.stderr.count("CACHED")
    assert updated.outputs["clients"] == certificates
    assert updated.pods("buildkit-gateway") == gateways
