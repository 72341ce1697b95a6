"""KEDA on the lab's node: when it is wanted, what an installation asks for, and its removal."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import LabError, build, image_store, keda, progress
from lab.node import Node

OBJECTS = list(yaml.safe_load_all(keda.MANIFEST.read_text()))
DEPLOYMENTS = {m["metadata"]["name"]: m for m in OBJECTS if m["kind"] == "Deployment"}


class Recorder(Node):
    """A node that writes down what kubectl is asked for, and answers with what it is given."""

    def __init__(self, tools: Path, images: dict[str, Path], state: Path) -> None:
        super().__init__(tools, images, state)
        self.asked: list[str] = []
        self.answers: dict[str, str] = {}

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        self.asked.append(" ".join(arguments))
        for start, answer in self.answers.items():
            if self.asked[-1].startswith(start):
                if not answer:
                    raise LabError(start)
                return answer
        return "ok"

    def import_images(self) -> None:
        self.asked.append("import")


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A node whose programs and images are built."""
    images = {image.name: tmp_path / image.target for image in image_store.KEDA}
    recorder = Recorder(tmp_path, images, tmp_path)
    monkeypatch.setattr(progress, "DURATIONS", tmp_path / "durations.json")
    monkeypatch.setattr(build, "tools", lambda also: tmp_path)
    monkeypatch.setattr(build, "module_dir", lambda tool, module: Path("/keda"))
    monkeypatch.setattr(image_store, "images", lambda tools, wanted: images)
    monkeypatch.setattr(keda, "Node", lambda *_: recorder)
    return recorder


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({}, False),
        ({"buildkit:mode": "statefulset"}, False),
        ({"buildkit:autoscaling": {}}, True),
        ({"buildkit:autoscaling": {"max": 3}}, True),
        ({"buildkit:autoscaling": None}, False),
        ({"buildkit:farm": {}}, True),
        ({"buildkit:farm": {"replicas": 3}}, False),
        ({"buildkit:farm": {"replicas": {"max": 1}}}, False),
        ({"buildkit:farm": {"replicas": {"min": 2, "max": 2}}}, False),
        ({"buildkit:farm": {"replicas": {"min": 0, "max": 2}}}, True),
    ],
)
def test_only_what_scales_by_itself_wants_keda(config: dict[str, Any], wanted: bool) -> None:
    assert keda.is_wanted(config) is wanted


def test_the_manifest_runs_the_images_that_are_built() -> None:
    containers = [m["spec"]["template"]["spec"]["containers"] for m in DEPLOYMENTS.values()]
    assert {c["image"] for [c] in containers} == {image.name for image in image_store.KEDA}
    programs = {program for image in image_store.KEDA for program in image.tools}
    assert programs == {tool.name for tool in build.KEDA}
    assert not programs & {tool.name for tool in build.TOOLS}


def test_an_installation_waits_for_all_that_it_starts(node: Recorder) -> None:
    keda.install(node)
    assert set(DEPLOYMENTS) == set(keda.DEPLOYMENTS)
    for name in DEPLOYMENTS:
        assert any(f"deployment/{name}" in line for line in node.asked)
    assert f"apiservice/{keda.API_SERVICE}" in " ".join(node.asked)
    assert [line.rpartition("=")[2] for line in node.asked[-2:]] == list(keda.ANSWERS)


def test_the_definitions_are_those_of_kedas_module(node: Recorder) -> None:
    keda.install(node)
    assert any(line.endswith("--kustomize=/keda/config/crd") for line in node.asked)
    assert not any(m["kind"] == "CustomResourceDefinition" for m in OBJECTS)


def test_what_is_installed_is_only_asked_whether_it_answers(node: Recorder) -> None:
    keda.install(node)
    node.asked.clear()
    keda.install(node)
    assert node.asked == [f"get --raw={path}" for path in keda.ANSWERS]


def test_what_does_not_answer_is_installed_again(
    node: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    keda.install(node)
    node.asked.clear()
    answers = iter((False, True))
    monkeypatch.setattr(keda, "_answers", lambda _: next(answers))
    keda.install(node)
    assert "import" in node.asked


def test_another_keda_is_installed_over_the_one_that_runs(node: Recorder, tmp_path: Path) -> None:
    keda.install(node)
    node.asked.clear()
    node.images = {name: tmp_path / "another" for name in node.images}
    keda.install(node)
    assert "import" in node.asked


def test_a_removal_does_not_wait_for_an_operator_that_is_gone(node: Recorder) -> None:
    kind = "scaledobjects.keda.sh"
    node.answers = {
        "get crds": f"crd/{kind}\ncrd/others.example.com",
        f"delete {kind}": "",
        f"get {kind}": "builders team",
    }
    keda.remove(node)
    [patch] = [line for line in node.asked if line.startswith("patch")]
    assert patch.startswith(f"patch {kind} builders --namespace=team")
    assert '"finalizers":null' in patch
    assert node.asked[-1] == f"delete crd/{kind}"


def test_after_a_removal_it_is_installed_anew(node: Recorder) -> None:
    keda.install(node)
    node.answers = {"get crds": "crd/scaledobjects.keda.sh", "get scaledobjects": "\n"}
    keda.remove(node)
    node.asked.clear()
    keda.install(node)
    assert "import" in node.asked
