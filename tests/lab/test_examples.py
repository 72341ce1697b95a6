"""The projects of examples/ as they are: brought up, built through by their clients, destroyed.

All at once, since each waits more than it works.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from lab import first_build, lifecycle
from lab.network import ADDRESS
from lab.paths import REPO
from tests.lab.projects import Project

HOST = "builds.example.com"
EXAMPLES = ("python", "typescript", "yaml")

Outputs = dict[str, Any]


class Example(NamedTuple):
    """A project that is being brought up."""

    project: Project
    outputs: Future[Outputs]


def port(lab: lifecycle.Lab, name: str) -> int:
    """Where an example's clients dial the node."""
    return lab.node_port + 1 + EXAMPLES.index(name)


@pytest.fixture(scope="module")
def examples(
    lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Example]]:
    """Each of them, in a copy."""
    projects = {
        name: Project.copied(lab, REPO / "examples" / name, tmp_path_factory.mktemp(name))
        for name in EXAMPLES
    }

    def up(name: str) -> Outputs:
        return projects[name].up(**config(lab, name), nodePort=f"{port(lab, name)}")

    def down(name: str) -> None:
        projects[name].destroy()
        lab.node.kubectl("delete", "namespace", "--ignore-not-found", namespace(lab, name))

    with ThreadPoolExecutor() as each:
        yield {name: Example(projects[name], each.submit(up, name)) for name in EXAMPLES}
        assert [*each.map(down, EXAMPLES)]


def namespace(lab: lifecycle.Lab, name: str) -> str:
    """Where an example is that has no namespace of its own."""
    return f"{lab.name}-{name}"


def config(lab: lifecycle.Lab, name: str) -> Mapping[str, str]:
    """What an example is told of the cluster."""
    if name == "python":
        return {"host": HOST, "kubeconfig": lab.node.kubeconfig.read_text()}
    lab.node.kubectl("create", "namespace", namespace(lab, name))
    within = {"host": ADDRESS, "namespace": namespace(lab, name)}
    return {**within, "storageClass": "lab"} if name == "typescript" else within


def test_an_existing_project_in_python_imports_gateway_and_deployment(
    lab: lifecycle.Lab, examples: dict[str, Example]
) -> None:
    outputs = examples["python"].outputs.result()
    assert outputs["endpoint"] == f"{HOST}:{port(lab, 'python')}"
    # No DNS knows it here.
    reached = {**outputs, "endpoint": f"{ADDRESS}:{port(lab, 'python')}"}
    first_build.from_scratch(reached, lab.node.at.tools, HOST)


@pytest.mark.parametrize("name", ["typescript", "yaml"])
def test_another_language_has_the_components(
    name: str, lab: lifecycle.Lab, examples: dict[str, Example]
) -> None:
    outputs = examples[name].outputs.result()
    assert outputs["endpoint"] == f"{ADDRESS}:{port(lab, name)}"
    first_build.from_scratch(outputs, lab.node.at.tools)


def test_what_another_language_sends_is_the_same_the_next_time(
    examples: dict[str, Example],
) -> None:
    assert examples["yaml"].outputs.result()
    examples["yaml"].project.stack.preview("--expect-no-changes")
