"""A cache on a volume outlives its pod, failing updates, and all switches but a wanted one."""

from collections.abc import Iterator
from typing import Any

import pytest

from lab.engine import StackError
from tests.lab.conftest import Configured, Installation, configuring, refusal

CLAIM = {"kind": "claim", "storageClass": "lab", "size": "1Gi"}
STATEFUL: dict[str, Any] = {"buildkit:mode": "statefulset", "buildkit:volume": CLAIM}
LET_GO = {**STATEFUL, "buildkit:volume": {**CLAIM, "protect": False}}


def claims(installation: Installation) -> dict[str, str]:
    """The size that each claim in the stack's namespace asks for, by its name."""
    requested = "{range .items[*]}{.metadata.name} {.spec.resources.requests.storage}{'\\n'}{end}"
    lines = installation.kubectl("get", "persistentvolumeclaims", f"--output=jsonpath={requested}")
    return dict(line.split() for line in lines.splitlines())


def steps_taken_from_the_cache(installation: Installation, image: str) -> int:
    """Build the image that greets, always alike, and count what was built before."""
    result = installation.build(image, "always the same")
    assert result.returncode == 0, result.stderr
    return result.stderr.count("CACHED")


@pytest.fixture(scope="module")
def changed(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Configured]:
    """The dev stack, which goes from one configuration to the next."""
    configured = configuring(installation.lab, tmp_path_factory.mktemp("volumes"))
    configure = next(configured)
    yield configure
    if "rootless-cache-buildkitd-0" in claims(installation):
        configure(LET_GO)
    next(configured, None)


def test_a_switch_that_would_lose_a_cache_is_refused(changed: Configured) -> None:
    installation = changed(STATEFUL)
    steps_taken_from_the_cache(installation, "protected")
    said = refusal(installation, {})
    assert "rootless-cache-buildkitd-0" in said
    assert "protect" in said
    assert claims(installation) == {"rootless-cache-buildkitd-0": "1Gi"}


def test_a_claim_s_size_can_t_shrink(changed: Configured) -> None:
    installation = changed(STATEFUL)
    said = refusal(installation, {**STATEFUL, "buildkit:volume": {**CLAIM, "size": "512Mi"}})
    assert "buildkit:volume.size: '512Mi'" in said
    assert "1Gi" in said


def test_a_claim_that_can_t_grow_is_refused(changed: Configured) -> None:
    # The lab's class makes directories, which have no size.
    installation = changed(STATEFUL)
    said = refusal(installation, {**STATEFUL, "buildkit:volume": {**CLAIM, "size": "2Gi"}})
    assert "buildkit:volume.size: '2Gi'" in said
    assert "allowVolumeExpansion" in said


def test_a_cache_outlives_its_pod_and_ends_when_it_is_let_go(changed: Configured) -> None:
    installation = changed(STATEFUL)
    steps_taken_from_the_cache(installation, "kept")
    changed({**LET_GO, "buildkit:maxParallelism": 2})  # rolls the pod
    assert steps_taken_from_the_cache(installation, "kept") == 1
    changed({})
    assert claims(installation) == {}


RECREATED: dict[str, Any] = {"buildkit:volume": {**CLAIM, "protect": False}}
REFUSED = {
    "an image that does not exist": (
        {"buildkit:image": "example.com/no/such:image", "buildkit:updateTimeout": 20},
        "example.com/no/such:image",
    ),
    "a configuration that buildkitd refuses": (
        {"buildkit:buildkitd": {"worker": {"oci": {"snapshotter": "nosuch"}}}},
        "nosuch",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_deployment_whose_pod_has_to_stop_first_is_proven_before(
    changed: Configured, what: str
) -> None:
    installation = changed(RECREATED)
    pod = installation.pods("buildkitd")
    steps_taken_from_the_cache(installation, "recreated")
    keys, reason = REFUSED[what]
    with pytest.raises(StackError) as failure:
        changed({**RECREATED, **keys})
    assert reason in failure.value.output
    assert steps_taken_from_the_cache(installation, "recreated") == 1
    assert installation.pods("buildkitd") == pod


def test_a_deployment_keeps_its_cache_when_it_rolls(changed: Configured) -> None:
    installation = changed(RECREATED)
    steps_taken_from_the_cache(installation, "rolled")
    changed({**RECREATED, "buildkit:maxParallelism": 3})
    assert steps_taken_from_the_cache(installation, "rolled") == 1
