"""BuildKit goes to its next version beneath builds, by one `pulumi up`, and back."""

import re
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

CLAIM: dict[str, Any] = {
    "buildkit:volume": {"kind": "claim", "storageClass": "lab", "size": "1Gi", "protect": False}
}
_, BEFORE = (image.name for image in image_store.PREVIOUS_BUILDKIT)
AFTER = VARIANTS[Security.ROOTLESS].image


@pytest.fixture(scope="module")
def configured(
    lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Configured]:
    """The lab's stack, on a node that has both versions."""
    tools = build.tools(build.PREVIOUS_BUILDKIT)
    images = image_store.images(tools, image_store.PREVIOUS_BUILDKIT)
    Node(tools, images, lab.node.at.state).import_images()
    yield from configuring(lab, tmp_path_factory.mktemp("update"))


def runs(installation: Installation, image: str) -> bool:
    """Whether the only buildkitd is of the version that its image is named after."""
    [pod] = installation.pods("buildkitd")
    version = installation.kubectl("exec", pod, "--", "buildkitd", "--version").split()[2]
    return image.endswith(f":{version}-rootless")


def is_cached(installation: Installation, greeting: str) -> bool:
    """Build the image that greets; whether its step was built before."""
    result = installation.build("update", greeting)
    assert result.returncode == 0, result.stderr
    return bool(re.search(r"^#(\d+) \[2/2\] RUN .*\n#\1 CACHED$", result.stderr, re.MULTILINE))


def test_an_update_of_buildkit_loses_no_build_and_keeps_cache_and_certificates(
    configured: Configured, record_property: Record
) -> None:
    greeting = f"cached since {time.time_ns()}"
    installation = configured({**CLAIM, "buildkit:image": BEFORE})
    assert runs(installation, BEFORE)
    assert not is_cached(installation, greeting)
    gateways, certificates = installation.pods("buildkit-gateway"), installation.outputs["clients"]

    with load(installation, longest=10) as clients:
        clients.wait_until_each_has_built()
        updated = configured(CLAIM)
        clients.wait_until_each_has_built()

    record_property("builds", len(clients.builds))
    assert not clients.lost, str(clients)
    assert runs(updated, AFTER)
    assert is_cached(updated, greeting)
    assert updated.outputs["clients"] == certificates
    assert updated.pods("buildkit-gateway") == gateways


def test_the_version_before_reads_the_cache_of_the_next_one(configured: Configured) -> None:
    greeting = f"cached since {time.time_ns()}"
    assert not is_cached(configured(CLAIM), greeting)
    before = configured({**CLAIM, "buildkit:image": BEFORE})
    assert runs(before, BEFORE)
    assert is_cached(before, greeting)
