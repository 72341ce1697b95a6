"""The files for CI services among the examples, as far as they can be read without a service."""

import re
from typing import Any

import pytest
import yaml
from pulumi_buildkit import Security
from pulumi_buildkit.security import default_image

from settings import Settings
from tests.ci_files import (
    CI,
    GITHUB,
    GITLAB,
    JENKINS,
    TEKTON_TASK_RUN,
    jenkins,
    tekton_task,
    tekton_task_run,
)

LONGEST_HOLD = Settings.model_validate({"mode": "statefulset"}).hold
"""Seconds for which a build may wait where nothing else is said."""
SECONDS = {"h": 3600, "hour": 3600, "HOURS": 3600, "m": 60}
FILES = sorted(file for file in CI.rglob("*") if file.is_file())


def seconds(said: str) -> int:
    """What is *said* as a number and a unit."""
    number, unit = re.fullmatch(r"(\d+) ?(\w+)", said).groups()  # type: ignore[union-attr]
    return int(number) * SECONDS[unit]


def timeouts() -> dict[str, int]:
    """How long each service gives a job."""
    workflow: dict[Any, Any] = yaml.safe_load(GITHUB.read_text())
    of_jenkins = re.search(r"timeout\(time: (\d+), unit: '(\w+)'\)", JENKINS.read_text())
    assert of_jenkins
    return {
        "gitlab": seconds(yaml.safe_load(GITLAB.read_text())["build"]["timeout"]),
        "github": seconds(f"{workflow['jobs']['build']['timeout-minutes']}m"),
        "jenkins": seconds(" ".join(of_jenkins.groups())),
        "tekton": seconds(tekton_task_run()["spec"]["timeout"]),
    }


def test_a_job_may_wait_for_as_long_as_the_gateway_holds_it_and_build_then() -> None:
    assert {*timeouts()} == {path.name for path in CI.iterdir()}
    assert LONGEST_HOLD > 1800
    for service, timeout in timeouts().items():
        assert timeout > LONGEST_HOLD + 600, service


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_job_asks_for_a_daemon_or_a_privilege(file: Any) -> None:
    code = [
        line for line in file.read_text().splitlines() if not line.strip().startswith(("#", "//"))
    ]
    for forbidden in ("dind", "docker.sock", "privileged", "DOCKER_HOST"):
        assert not [line for line in code if forbidden in line]


def test_a_pipeline_s_scripts_are_all_found() -> None:
    assert len(jenkins()) == JENKINS.read_text().count(" sh '") == 2


def test_the_task_s_buildctl_is_of_the_buildkit_that_it_talks_to() -> None:
    images = [step["image"] for step in tekton_task()["steps"]]
    assert images == [default_image(Security.ROOTLESS)]


def test_the_run_gives_the_task_what_it_asks_for() -> None:
    task, run = tekton_task(), tekton_task_run()["spec"]
    for kind in ("params", "workspaces"):
        assert [one["name"] for one in run[kind]] == [one["name"] for one in task[kind]]


def test_the_run_mounts_the_secret_that_its_comment_has_made() -> None:
    comment = re.findall(r"^#  (.*)$", TEKTON_TASK_RUN.read_text(), re.MULTILINE)
    ((name, client),) = yaml.safe_load("\n".join(comment))["buildkit:clients"].items()
    run = tekton_task_run()
    assert run["metadata"]["namespace"] == client["namespace"]
    secrets = [workspace["secret"]["secretName"] for workspace in run["spec"]["workspaces"]]
    assert f"buildkit-{name}-certs" in secrets
