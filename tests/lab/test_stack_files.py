"""The stack files among the examples, each previewed as it is on a cluster."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from pulumi.automation import OpType

from lab import keda, lifecycle
from tests.lab.test_engine import namespace_of
from tests.stack_files import STACKS, configuration

DEFAULT = "default"
"""The storage class of those who name none."""


@pytest.fixture(scope="module")
def cluster(lab: lifecycle.Lab) -> Iterator[lifecycle.Lab]:
    """The lab with what the files say has to be there first, and the preview asks for."""
    files = [configuration(file) for file in STACKS.values()]
    named = [*files, *(client for keys in files for client in keys["clients"].values())]
    namespaces = {one["namespace"] for one in named if "namespace" in one}
    classes = {keys["volume"].get("storageClass", DEFAULT) for keys in files}
    keda.install(lab.node)
    with ExitStack() as there:
        for name in namespaces:
            there.enter_context(namespace_of(lab, name))
        for name in classes:
            storage_class = {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {
                    "name": name,
                    "annotations": {
                        "storageclass.kubernetes.io/is-default-class": json.dumps(name == DEFAULT)
                    },
                },
                "provisioner": "kubernetes.io/no-provisioner",
            }
            lab.node.kubectl("create", "--filename=-", stdin=json.dumps(storage_class))
            there.callback(lab.node.kubectl, "delete", f"storageclass/{name}")
        yield lab


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_file_can_be_previewed_as_it_is(cluster: lifecycle.Lab, name: str) -> None:
    stack = cluster.stack(name)
    shutil.copy(STACKS[name], stack.directory)
    try:
        previewed = stack.preview()
    finally:
        stack.destroy()
    assert {*previewed.change_summary} == {OpType.CREATE}
    assert "kubernetes:apps/v1:StatefulSet buildkitd" in " ".join(previewed.stdout.split())
    assert "not checked against the cluster" not in previewed.stdout
