"""A builder of docker buildx's kubernetes driver moves in, and its cache with it."""

import json
from pathlib import Path

from lab import lifecycle
from tests.lab.building import BUILDCTL, build, greets
from tests.lab.conftest import Configured, Installation
from tests.lab.moving import IMAGE, VOLUME, Old, claim_of
from tests.lab.test_engine import namespace_of

BUILDER = "moving"


def test_a_builder_of_buildx_s_driver_hands_its_cache_over(
    lab: lifecycle.Lab, installation: Installation, configured: Configured, tmp_path: Path
) -> None:
    with namespace_of(lab, "moving-out-buildx") as namespace:
        old = builder_of_the_driver(lab, namespace, tmp_path)
        names = {
            "OLD": namespace,
            "NEW": installation.outputs["namespace"],
            "WORKLOAD": f"statefulset/{BUILDER}0",
            "CLAIM": f"buildkitd-{BUILDER}0-0",
            "NEW_CLAIM": "rootless-cache-buildkitd-0",
        }
        Old(old, names).follow("patch persistentvolume")
        Old(old, {"BUILDER": BUILDER}).follow("docker buildx rm")
    new = configured({"buildkit:mode": "statefulset", "buildkit:volume": VOLUME})
    with build(new, BUILDCTL, greets(BUILDER)) as again:
        again.result("greeting")
    assert "CACHED" in again.said


def builder_of_the_driver(lab: lifecycle.Lab, namespace: str, directory: Path) -> Installation:
    """A builder of docker buildx's kubernetes driver, which has built something on its claim."""
    old = Installation(lab, {"namespace": namespace}, directory)
    claim = directory / "claim.json"
    claim.write_text(json.dumps(claim_of(f"buildkitd-{BUILDER}0-0")))
    # The lab has no default class for it to choose.
    old.kubectl("apply", f"--filename={claim}")
    storage = "persistent-volume-claim.requests.storage=1Gi"
    options = f"namespace={namespace},image={IMAGE},rootless=true,{storage}"
    driver = ("--driver=kubernetes", f"--driver-opt={options}")
    create = ("docker-buildx", "create", f"--name={BUILDER}", *driver)
    (directory / "Dockerfile").write_text(greets(BUILDER))
    of_it = f"--builder={BUILDER}"
    for command in (create, ("docker-buildx", "build", of_it, "--output=type=cacheonly", ".")):
        done = old.run(*command)
        assert done.returncode == 0, done.stderr
    return old
