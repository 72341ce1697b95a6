"""The files for CI services among the examples, read as those services read them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Template
from typing import Any

import yaml

from tests.recording import REPO

CI = REPO / "examples" / "ci"
GITLAB = CI / "gitlab" / ".gitlab-ci.yml"
GITHUB = CI / "github" / ".github" / "workflows" / "build.yml"
JENKINS = CI / "jenkins" / "Jenkinsfile"
TEKTON_TASK = CI / "tekton" / "task.yaml"
TEKTON_TASK_RUN = CI / "tekton" / "task-run.yaml"

Variables = dict[str, str]


@dataclass(frozen=True)
class Step:
    """A script of a job, and the shell that runs it."""

    shell: tuple[str, ...]
    script: str
    environment: Variables = field(default_factory=dict)
    """What it has besides the job's own."""


def gitlab(given: Mapping[str, str]) -> list[Step]:
    """The scripts of the job, with the variables that GitLab has *given*.

    https://docs.gitlab.com/ci/yaml/
    """
    job = yaml.safe_load(GITLAB.read_text())["build"]
    own = {name: Template(value).substitute(given) for name, value in job["variables"].items()}
    scripts = ([*job["before_script"], *job["script"]], job["after_script"])
    return [Step(("sh", "-e"), "\n".join(lines), own) for lines in scripts]


def github(contexts: Mapping[str, str]) -> list[Step]:
    """The steps of the job, with *contexts* as `secrets.KEY`; an action is what it does.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
    """
    job = yaml.safe_load(GITHUB.read_text())["jobs"]["build"]
    steps: list[Step] = []
    afterwards: list[Step] = []
    for step in job["steps"]:
        inputs = {f"INPUT_{key.upper()}": value for key, value in step.get("with", {}).items()}
        variables = _resolved({**job["env"], **step.get("env", {}), **inputs}, contexts)
        main, post = _ACTIONS[step["uses"]] if "uses" in step else (step["run"], "")
        steps.append(Step(("bash", "-e"), main, variables))
        afterwards.insert(0, Step(("bash", "-e"), post, variables))
    return [step for step in (*steps, *afterwards) if step.script]


def _resolved(values: Mapping[str, str], contexts: Mapping[str, str]) -> Variables:
    return {
        name: re.sub(r"\$\{\{ (\S+) \}\}", lambda found: contexts[found[1]], value)
        for name, value in values.items()
    }


# What its source does: https://github.com/docker/setup-buildx-action/blob/master/src/main.ts
_SETUP_BUILDX = """
certs="$HOME/.docker/buildx/certs"
mkdir -p "$certs"
printf %s "$BUILDER_NODE_0_AUTH_TLS_CACERT" > "$certs/cacert.pem"
printf %s "$BUILDER_NODE_0_AUTH_TLS_CERT" > "$certs/cert.pem"
printf %s "$BUILDER_NODE_0_AUTH_TLS_KEY" > "$certs/key.pem"
docker buildx create --name builder --driver "$INPUT_DRIVER" \\
  --driver-opt "cacert=$certs/cacert.pem,cert=$certs/cert.pem,key=$certs/key.pem" \\
  --use "$INPUT_ENDPOINT"
docker buildx inspect --bootstrap --builder builder
"""
_AFTER_BUILDX = 'docker buildx rm builder; rm -r "$HOME/.docker/buildx/certs"'
_ACTIONS = {
    "actions/checkout@v6": ("", ""),
    "docker/setup-buildx-action@v4": (_SETUP_BUILDX, _AFTER_BUILDX),
}


def jenkins() -> list[Step]:
    """The shell scripts of the pipeline, in their order.

    https://www.jenkins.io/doc/pipeline/steps/workflow-durable-task-step/
    """
    scripts = re.findall(r"\bsh (?:'''(.*?)'''|'([^'\n]*)')", JENKINS.read_text(), re.DOTALL)
    # Groovy takes a backslash for its own; at the end of a line it joins two.
    texts = [(longer or shorter).replace("\\\n", "") for longer, shorter in scripts]
    assert not any("\\" in text for text in texts)
    return [Step(("sh", "-xe"), text) for text in texts]


def jenkins_variables() -> set[str]:
    """What the pipeline's environment and credentials put into that of its scripts."""
    text = JENKINS.read_text()
    own = re.findall(r"^ +([A-Z_]+) = '", text, re.MULTILINE)
    return {*own, *re.findall(r"[vV]ariable: '(\w+)'", text)}


def tekton_task() -> dict[str, Any]:
    """https://tekton.dev/docs/pipelines/tasks/."""
    return yaml.safe_load(TEKTON_TASK.read_text())["spec"]


def tekton_task_run() -> dict[str, Any]:
    """https://tekton.dev/docs/pipelines/taskruns/."""
    return yaml.safe_load(TEKTON_TASK_RUN.read_text())


def tekton_value(text: str, params: Mapping[str, str], paths: Mapping[str, str]) -> str:
    """A *text* of a Task with the values of its *params* and the *paths* of its workspaces."""
    references = {
        **{f"params.{name}": value for name, value in params.items()},
        **{f"workspaces.{name}.path": path for name, path in paths.items()},
    }
    return re.sub(r"\$\(([^)]+)\)", lambda found: references[found[1]], text)
