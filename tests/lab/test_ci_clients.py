"""The jobs of CI services among the examples: their commands as they are, against the lab.

The services themselves are not here. What a service makes of its file is in tests/ci_files.py, and
which variables and files it gives a job is said here.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import LabError, lifecycle, registry
from lab.client import FILES
from lab.network import ADDRESS
from lab.node import until
from tests.ci_files import (
    Step,
    github,
    gitlab,
    jenkins,
    jenkins_variables,
    tekton_task,
    tekton_task_run,
    tekton_value,
)
from tests.lab.absence import no_buildkitd
from tests.lab.conftest import Installation, configuring, install
from tests.lab.gateway_pods import REACHED_WITHIN, look_at_files
from tests.lab.page_commands import said
from tests.lab.test_engine import namespace_of
from tests.lab.test_jobs import HTPASSWD, PASSWORD, serving

NAMESPACE = tekton_task_run()["metadata"]["namespace"]
PRIVATE = f"{ADDRESS}:5002"
OPEN = f"{ADDRESS}:5003"
"""What is in `PRIVATE`, without its password."""
GIT_PORT = 9419  # nobody else's
USER = "builder"
COMMIT = "8c6d8a9d0f2b4a1e"
PATIENCE = 60  # seconds for anything that a job does
# Of the docker command, what needs no daemon. Who logs in is written down as docker does it.
DOCKER = """#!/bin/sh
set -eu
echo "$*" >> "$0.called"
config="${DOCKER_CONFIG:-$HOME/.docker}"
case "$1 $2" in
  "buildx "*)
    shift
    exec docker-buildx "$@" ;;
  "login --username")
    mkdir -p "$config"
    account="$(printf %s "$3:$(cat)" | base64 -w0)"
    printf '{"auths": {"%s": {"auth": "%s"}}}' "$5" "$account" > "$config/config.json" ;;
  "logout "*)
    rm "$config/config.json" ;;
  *)
    exit 64 ;;
esac
"""


@dataclass(frozen=True)
class Runner:
    """Somebody who runs jobs, in a directory with all that they leave."""

    installation: Installation
    directory: Path
    repositories: Path
    """What has been pushed."""

    @property
    def home(self) -> Path:
        return self.directory / "home"

    @property
    def certificates(self) -> dict[str, Path]:
        """The files of the client, by the variables that hold their paths."""
        return {
            f"BUILDKIT_{part.upper()}": self.installation.directory / "certs" / name
            for part, name in FILES.items()
        }

    def work(self, greeting: str) -> Path:
        """A checkout of a project whose image has a *greeting*."""
        checkout = self.directory / "work"
        checkout.mkdir(exist_ok=True)
        (checkout / "Dockerfile").write_text("FROM debian:bookworm-slim\nCOPY greeting /\n")
        (checkout / "greeting").write_text(greeting)
        return checkout

    def run(self, steps: list[Step], variables: Mapping[str, str], greeting: str) -> None:
        """Run a job's *steps*, in an environment that has nothing else."""
        checkout = self.work(greeting)
        path = f"{self.directory / 'bin'}:{self.installation.environment['PATH']}"
        job = {"PATH": path, "HOME": str(self.home), **variables}
        for step in steps:
            done = subprocess.run(
                [*step.shell, "-c", step.script],
                cwd=checkout,
                env={**job, **step.environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            assert done.returncode == 0, f"{step.script}\n{done.stdout}{done.stderr}"

    def has_called(self, command: str) -> bool:
        """Whether a job has got to this *command* of docker's."""
        called = self.directory / "bin" / "docker.called"
        return called.exists() and command in called.read_text()

    def has_pushed(self, image: str, greeting: str) -> None:
        """Find the image with its *greeting*, and its cache beside it."""
        assert registry.read_file(OPEN, image, COMMIT, "greeting").decode() == greeting
        tags = {tag.name for tag in (self.repositories / image / "_manifests/tags").iterdir()}
        assert tags == {COMMIT, "cache"}

    def left(self) -> list[Path]:
        """What jobs have left: builders, passwords and copies of keys."""
        left = (path for path in self.directory.rglob("*") if path.is_file())
        kept = {self.directory / "bin", self.directory / "work"}
        secret = ("config.json", "key.pem")
        return [
            path
            for path in left
            if path.parent not in kept and (path.name in secret or path.parent.name == "instances")
        ]


@pytest.fixture(scope="module")
def repositories(lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is in a registry for those who know its password, and in the same for everybody."""
    directory = tmp_path_factory.mktemp("registry")
    (directory / "htpasswd").write_text(HTPASSWD)
    password = {"htpasswd": {"realm": "lab", "path": str(directory / "htpasswd")}}
    with ExitStack() as stack:
        for address, auth in ((PRIVATE, password), (OPEN, {})):
            file = directory / f"{address}.yml"
            configuration = {
                "version": 0.1,
                "storage": {"filesystem": {"rootdirectory": str(directory)}},
                "http": {"addr": address},
                "auth": auth,
            }
            file.write_text(yaml.safe_dump(configuration))
            command = (str(lab.node.at.tools / "registry"), "serve", str(file))
            quiet = ("env", "OTEL_TRACES_EXPORTER=none")
            stack.enter_context(serving(lab, *quiet, *command, ready="listening on"))
        yield directory / "docker/registry/v2/repositories"


@pytest.fixture(scope="module")
def installation(
    lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """The dev stack with a client for CI, whose Secret is where its pods are."""
    directory = tmp_path_factory.mktemp("ci")
    with namespace_of(lab, NAMESPACE):
        label = "pod-security.kubernetes.io/enforce=restricted"
        lab.node.kubectl("label", f"namespace/{NAMESPACE}", label)
        configured = configuring(lab, directory)
        made = next(configured)(
            {
                "buildkit:clients": {"dev": {}, "ci": {"namespace": NAMESPACE}},
                "buildkit:registries": {PRIVATE: {"http": True}},
            }
        )
        ci = install(lab, made.outputs, directory / "client", "ci")
        look_at_files(ci)
        until(ci.is_let_in, REACHED_WITHIN, lambda: LabError("ci is not let in"))
        yield ci
        next(configured, None)


@pytest.fixture
def runner(installation: Installation, repositories: Path, tmp_path: Path) -> Runner:
    (tmp_path / "home").mkdir()
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    return Runner(installation, tmp_path, repositories)


def run_gitlab(runner: Runner, image: str, greeting: str) -> None:
    given = {
        "CI_REGISTRY": PRIVATE,
        "CI_REGISTRY_IMAGE": f"{PRIVATE}/{image}",
        "CI_REGISTRY_USER": USER,
        "CI_REGISTRY_PASSWORD": PASSWORD,
        "CI_COMMIT_SHA": COMMIT,
        "CI_JOB_ID": image,
        "CI_BUILDS_DIR": str(runner.directory),
        "BUILDKIT_ENDPOINT": runner.installation.outputs["endpoint"],
        **{name: str(file) for name, file in runner.certificates.items()},
    }
    runner.run(gitlab(given), given, greeting)


def test_gitlab_s_job_builds_and_pushes(runner: Runner) -> None:
    key = runner.certificates["BUILDKIT_KEY"]
    key.chmod(0o666)
    run_gitlab(runner, "gitlab", "built by GitLab")
    runner.has_pushed("gitlab", "built by GitLab")
    assert key.stat().st_mode & 0o077 == 0
    assert runner.left() == []


def test_jobs_of_one_home_build_side_by_side(runner: Runner) -> None:
    images = ("left", "right")
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(run_gitlab, runner, image, "built with another") for image in images]
        for job in jobs:
            job.result()
    for image in images:
        runner.has_pushed(image, "built with another")
    assert runner.left() == []


def run_github(runner: Runner, image: str, greeting: str) -> None:
    contexts = {
        "vars.BUILDKIT_ENDPOINT": runner.installation.outputs["endpoint"],
        "vars.REGISTRY": PRIVATE,
        "vars.IMAGE": f"{PRIVATE}/{image}",
        "secrets.REGISTRY_USER": USER,
        "secrets.REGISTRY_PASSWORD": PASSWORD,
        **{f"secrets.{name}": file.read_text() for name, file in runner.certificates.items()},
    }
    runner.run(github(contexts), {"GITHUB_SHA": COMMIT}, greeting)


def test_github_s_job_builds_and_pushes(runner: Runner) -> None:
    run_github(runner, "github", "built by GitHub")
    runner.has_pushed("github", "built by GitHub")
    assert runner.left() == []


def test_jenkins_pipeline_builds_and_pushes(runner: Runner) -> None:
    variables = {
        "BUILDKIT_ENDPOINT": runner.installation.outputs["endpoint"],
        "REGISTRY": PRIVATE,
        "IMAGE": f"{PRIVATE}/jenkins",
        "REGISTRY_USER": USER,
        "REGISTRY_PASSWORD": PASSWORD,
        **{name: str(file) for name, file in runner.certificates.items()},
    }
    assert {*variables} == jenkins_variables()
    by_jenkins = {"GIT_COMMIT": COMMIT, "WORKSPACE_TMP": str(runner.directory / "work@tmp")}
    runner.run(jenkins(), {**variables, **by_jenkins}, "built by Jenkins")
    runner.has_pushed("jenkins", "built by Jenkins")
    assert runner.left() == []


@pytest.fixture
def repository(lab: lifecycle.Lab, runner: Runner) -> Iterator[str]:
    """The URL of a Git repository with the project that Tekton builds."""
    project = runner.work("built by Tekton")
    for arguments in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "."),
        ("-c", "user.name=me", "-c", "user.email=me@example.com", "commit", "--quiet", "-m", "it"),
    ):
        subprocess.run(["git", *arguments], cwd=project, check=True)
    listening = (f"--listen={ADDRESS}", f"--port={GIT_PORT}", "--export-all")
    command = ("git", "daemon", "--verbose", *listening, f"--base-path={project.parent}")
    with serving(lab, *command, ready="Ready to rumble"):
        yield f"git://{ADDRESS}:{GIT_PORT}/{project.name}#main"


def pod_of_the_task(params: dict[str, str]) -> dict[str, Any]:
    """The pod that Tekton makes of Task and TaskRun, but for its own helpers, with *params*."""
    task, run = tekton_task(), tekton_task_run()
    assert {*params} == {param["name"] for param in task["params"]}
    secrets = {one["name"]: one["secret"] for one in run["spec"]["workspaces"]}
    paths = {name: f"/workspace/{name}" for name in secrets}
    (step,) = task["steps"]
    env = [{**one, "value": tekton_value(one["value"], params, paths)} for one in step["env"]]
    container = {
        **{key: step[key] for key in ("name", "image", "securityContext")},
        "command": ["sh", "-c", step["script"]],
        "env": env,
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in paths.items()],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "buildkit-build", "namespace": NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [{"name": name, "secret": secret} for name, secret in secrets.items()],
        },
    }


def test_tekton_s_task_builds_and_pushes_where_no_pod_may_have_any_privilege(
    runner: Runner, repository: str
) -> None:
    secret = said(runner.installation, runner.directory, "ci-clients.md", "get secret")
    assert secret.splitlines()[1].startswith("buildkit-ci-certs")
    kubectl = partial(runner.installation.lab.node.kubectl, "--namespace", NAMESPACE)
    server = ("docker-registry", "registry", f"--docker-server={PRIVATE}")
    account = (f"--docker-username={USER}", f"--docker-password={PASSWORD}")
    kubectl("create", "secret", *server, *account)
    params = {
        "endpoint": f"buildkit-gateway.{runner.installation.outputs['namespace']}.svc:1234",
        "context": repository,
        "image": f"{PRIVATE}/tekton",
        "tag": COMMIT,
    }
    kubectl("create", "--filename=-", stdin=json.dumps(pod_of_the_task(params)))

    def phase() -> str:
        return kubectl("get", "pod/buildkit-build", "--output=jsonpath={.status.phase}")

    def log() -> str:
        return kubectl("logs", "pod/buildkit-build")

    until(lambda: phase() in ("Succeeded", "Failed"), PATIENCE, lambda: LabError(log()))
    assert phase() == "Succeeded", log()
    runner.has_pushed("tekton", "built by Tekton")


def test_a_job_that_comes_while_there_is_no_buildkit_waits_for_it(runner: Runner) -> None:
    with ThreadPoolExecutor() as pool:
        with no_buildkitd(runner.installation):
            job = pool.submit(run_github, runner, "waited", "built in the end")
            # By then it has asked for 20 seconds whether somebody is there.
            until(
                lambda: job.done() or runner.has_called("buildx inspect"),
                PATIENCE,
                lambda: LabError("the job does not ask for its builder"),
            )
            assert not runner.has_called("buildx build")
        job.result()
    runner.has_pushed("waited", "built in the end")
