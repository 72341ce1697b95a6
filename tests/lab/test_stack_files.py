"""The stack files among the examples, each previewed on a cluster."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import yaml

from lab import keda, lifecycle
from tests.lab.test_engine import namespace_of
from tests.stack_files import STACKS, configuration


@pytest.fixture(scope="module")
def cluster(lab: lifecycle.Lab) -> Iterator[lifecycle.Lab]:
    """The lab with what the files say has to be there first."""
    files = [configuration(file) for file in STACKS.values()]
    named = [*files, *(client for keys in files for client in keys["clients"].values())]
    namespaces = {one["namespace"] for one in named if "namespace" in one}
    keda.install(lab.node)
    with ExitStack() as there:
        for name in namespaces:
            there.enter_context(namespace_of(lab, name))
        yield lab


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_file_can_be_previewed(cluster: lifecycle.Lab, name: str) -> None:
    stack = cluster.stack(name)
    written = yaml.safe_load(STACKS[name].read_text())
    # The lab has neither their clouds' disks and load balancers nor the room.
    written["config"]["buildkit:preflight"] = "none"
    (stack.directory / STACKS[name].name).write_text(yaml.safe_dump(written))
    try:
        previewed = stack.preview()
    finally:
        stack.destroy()
    assert re.findall(r"(?m)^ +\S+ \d+ (.+)$", previewed) == ["to create"]
    assert "kubernetes:apps/v1:StatefulSet buildkitd" in " ".join(previewed.split())
