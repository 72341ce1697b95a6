"""The projects of examples/ as they are: brought up, built through by their clients, destroyed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pulumi.automation import ConfigValue

from lab import first_build, lifecycle
from lab.network import ADDRESS
from lab.paths import REPO
from tests.lab.projects import Project

HOST = "builds.example.com"

Example = Callable[[str], Project]


@pytest.fixture
def example(lab: lifecycle.Lab, tmp_path: Path) -> Iterator[Example]:
    """A project of examples/, in a copy; what it made goes with the test."""
    made: list[Project] = []

    def copied(name: str) -> Project:
        made.append(Project.copied(lab, REPO / "examples" / name, tmp_path))
        return made[-1]

    yield copied
    for project in made:
        project.destroy()


@pytest.fixture
def namespace(lab: lifecycle.Lab) -> Iterator[str]:
    """A namespace that is there before the example."""
    name = f"{lab.name}-example"
    lab.node.kubectl("create", "namespace", name)
    yield name
    lab.node.kubectl("delete", "namespace", name)


def test_an_existing_project_in_python_imports_gateway_and_deployment(
    lab: lifecycle.Lab, example: Example
) -> None:
    port = lab.node_port + 1
    kubeconfig = ConfigValue(lab.node.kubeconfig.read_text(), secret=True)
    outputs = example("python").up(kubeconfig=kubeconfig, host=HOST, nodePort=f"{port}")
    assert outputs["endpoint"] == f"{HOST}:{port}"
    # No DNS knows it here.
    reached = {**outputs, "endpoint": f"{ADDRESS}:{port}"}
    first_build.from_scratch(reached, lab.node.at.tools, HOST)


@pytest.mark.parametrize("name", ["typescript", "yaml"])
def test_another_language_uses_the_components(
    name: str, lab: lifecycle.Lab, namespace: str, example: Example
) -> None:
    port = lab.node_port + 1
    outputs = example(name).up(namespace=namespace, host=ADDRESS, nodePort=f"{port}")
    assert outputs["endpoint"] == f"{ADDRESS}:{port}"
    first_build.from_scratch(outputs, lab.node.at.tools)
