"""The file of the lab's own stack: what the lab writes there, and what a user does."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import LabError, stack_file
from lab.first_build import SAMPLE_JOB

SALT = "v1:abc"


class Files:
    """A stack file, and the record of what was wanted the last time."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "Pulumi.lab.yaml"
        self.record = directory / "record"

    def update(self, **wanted: Any) -> dict[str, Any]:
        """The configuration after `make up` wants it to be so."""
        stack_file.update(self.file, self.record, keys(wanted))
        return self.config

    def edit(self, **changed: Any) -> None:
        """Change it as `pulumi config set` does, which adds a salt."""
        content = {"encryptionsalt": SALT, "config": {**self.config, **keys(changed)}}
        self.file.write_text(yaml.safe_dump(content))

    @property
    def config(self) -> dict[str, Any]:
        return yaml.safe_load(self.file.read_text())["config"]


def keys(config: dict[str, Any]) -> dict[str, Any]:
    return {f"buildkit:{key}": value for key, value in config.items()}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_it_begins_as_what_is_wanted_and_says_whose_it_is(files: Files) -> None:
    assert files.update(mode="pod") == keys({"mode": "pod"})
    assert files.file.read_text().startswith("# The lab's stack: Pulumi.dev.yaml, and what")


def test_what_a_user_sets_stays(files: Files) -> None:
    files.update(mode="deployment", security="rootless")
    files.edit(security="userns", hold=60)
    text = files.file.read_text()
    files.update(mode="deployment", security="rootless")
    assert files.file.read_text() == text


def test_a_key_that_changes_in_the_dev_file_is_taken_over_alone(files: Files) -> None:
    files.update(mode="deployment", security="rootless", hold=5)
    files.edit(security="userns")
    now = files.update(mode="pod", security="rootless")
    assert now == keys({"mode": "pod", "security": "userns"})
    assert yaml.safe_load(files.file.read_text())["encryptionsalt"] == SALT


def test_the_file_of_an_earlier_lab_is_written_again(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.update(mode="deployment")
    files.edit(mode="pod")
    files.record.unlink()
    assert files.update(mode="deployment") == keys({"mode": "deployment"})
    assert SALT not in files.file.read_text()
    assert "Pulumi.lab.yaml is of an earlier lab" in capsys.readouterr().err


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_job_has_a_sample_build_until_it_is_none(files: Files, by_hand: bool) -> None:
    files.update(mode="deployment")
    if by_hand:
        files.edit(mode="job")
    job = files.update(mode="deployment" if by_hand else "job")
    assert job == keys({"mode": "job", "job": SAMPLE_JOB})
    if by_hand:
        files.edit(mode="deployment")
    assert files.update(mode="deployment") == keys({"mode": "deployment"})


def test_a_build_of_the_users_own_stays(files: Files) -> None:
    own = {"context": "https://git.example.com/project.git"}
    files.update(mode="deployment")
    files.edit(mode="job", job=own)
    assert files.update(mode="deployment") == keys({"mode": "job", "job": own})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("config: [", r"Pulumi.lab.yaml is not valid YAML: .* line 1, .*Correct that line"),
        ("mode: pod\n- x", r"Pulumi.lab.yaml is not valid YAML: .* line 2, "),
        ("pod", "Pulumi.lab.yaml is not a stack file: expected keys below `config:`"),
        ("config: pod", "Pulumi.lab.yaml is not a stack file: expected keys below `config:`"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(files: Files, text: str, said: str) -> None:
    files.update(mode="pod")
    files.file.write_text(text)
    with pytest.raises(LabError, match=said) as refusal:
        files.update(mode="job")
    assert len(str(refusal.value).splitlines()) == 1
    assert files.file.read_text() == text
