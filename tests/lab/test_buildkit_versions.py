"""BuildKit goes to a newer version and back to the older one, and its cache goes with it."""

import pytest
from pulumi_buildkit import Security
from pulumi_buildkit.security import VARIANTS

from lab import build, image_store, lifecycle
from lab.node import Node
from tests.lab.conftest import Configured, Installation

CLAIM = {"kind": "claim", "storageClass": "lab", "size": "1Gi", "protect": False}
_, PREVIOUS = (image.name for image in image_store.PREVIOUS_BUILDKIT)
NEXT = VARIANTS[Security.ROOTLESS].image


@pytest.fixture
def previous(lab: lifecycle.Lab) -> str:
    """The image of the older BuildKit, on the node."""
    tools = build.tools(build.PREVIOUS_BUILDKIT)
    images = image_store.images(tools, image_store.PREVIOUS_BUILDKIT)
    Node(tools, images, lab.node.at.state).import_images()
    return PREVIOUS


def runs(installation: Installation, image: str) -> bool:
    """Whether the only buildkitd is of the version that its image is named after."""
    [pod] = installation.pods("buildkitd")
    version = installation.kubectl("exec", pod, "--", "buildkitd", "--version").split()[2]
    return image.endswith(f":{version}-rootless")


def steps_from_the_cache(installation: Installation) -> int:
    """Build what is always alike, and count what was built before."""
    result = installation.build("versions", "the same in each version")
    assert result.returncode == 0, result.stderr
    return result.stderr.count("CACHED")


def test_a_cache_is_read_by_the_next_version_and_by_the_one_before(
    previous: str, configured: Configured
) -> None:
    expected = 0
    for image in (previous, NEXT, previous):
        installation = configured({"buildkit:volume": CLAIM, "buildkit:image": image})
        assert runs(installation, image)
        assert steps_from_the_cache(installation) == expected
        expected = 1
