"""`mode: job`: each `pulumi up` is a build on the cluster, and its end is the update's."""

import hashlib
import os
import re
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import lifecycle, registry
from lab.engine import Stack, StackError
from lab.network import ADDRESS, REGISTRY
from tests.lab.test_engine import namespace_of

NAMESPACE = "jobs"
PRIVATE = f"{ADDRESS}:5001"
# `htpasswd -B` of it, as a registry has it.
PASSWORD, HTPASSWD = (
    "correct horse",
    "builder:$2b$04$lBq71l1RP9QjQ/y0cSKJE.P/wLpPo/MsRUM.G5vEdA5ylDKEKpnBq",
)
BASE = "FROM debian:bookworm-slim\n"


@dataclass(frozen=True)
class Builds:
    """A stack whose updates build."""

    lab: lifecycle.Lab
    stack: Stack

    def configure(self, job: dict[str, Any], **keys: Any) -> None:
        self.stack.configure(
            {
                "buildkit:mode": "job",
                "buildkit:namespace": NAMESPACE,
                "buildkit:createNamespace": False,
                "buildkit:registries": {
                    **lifecycle.REGISTRIES,
                    PRIVATE: {"http": True},
                },
                "buildkit:job": job,
                **{f"buildkit:{key}": value for key, value in keys.items()},
            }
        )

    def up(self, job: dict[str, Any], **keys: Any) -> str:
        """Build, and return what the update printed."""
        self.configure(job, **keys)
        return self.stack.up()

    def kubectl(self, *arguments: str) -> str:
        return self.lab.node.kubectl("--namespace", NAMESPACE, *arguments)

    @property
    def jobs(self) -> str:
        """What tells the Jobs that there are apart from all others."""
        return self.kubectl("get", "jobs", "--output=jsonpath={.items[*].metadata.uid}")

    @property
    def log(self) -> str:
        return self.kubectl("logs", self.stack.outputs()["workload"])


@pytest.fixture(scope="module")
def builds(lab: lifecycle.Lab) -> Iterator[Builds]:
    with namespace_of(lab, NAMESPACE):
        stack = lab.stack("jobs")
        yield Builds(lab, stack)
        stack.destroy()


@contextmanager
def serving(lab: lifecycle.Lab, *command: str, ready: str) -> Iterator[None]:
    """Have a server on the node, where pods reach it, from the line with *ready* on."""
    with subprocess.Popen(
        lab.node.inside(*command), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        try:
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                if ready in line:
                    break
            assert process.poll() is None, "".join(said)
            # What nobody reads would stop it, once the pipe is full.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def image(name: str, **attributes: Any) -> dict[str, Any]:
    """An output that pushes."""
    host = attributes.pop("registry", REGISTRY)
    return {"type": "image", "name": f"{host}/{name}:latest", "push": True, **attributes}


def test_inline_files_are_built_and_pushed_and_only_another_file_builds_again(
    builds: Builds,
) -> None:
    def job(greeting: str) -> dict[str, Any]:
        files = {"Dockerfile": "FROM scratch\nCOPY src /\n", "src/words/greeting": greeting}
        return {"files": files, "outputs": [image("inline")]}

    def built() -> str:
        return registry.read_file(REGISTRY, "inline", "latest", "words/greeting").decode()

    first, second = (f"hello {ordinal} at {time.time_ns()}" for ordinal in ("first", "second"))
    builds.up(job(first))
    assert built() == first
    before = builds.jobs

    builds.stack.preview("--expect-no-changes")
    builds.up(job(first))
    assert builds.jobs == before

    builds.up(job(second))
    assert built() == second
    assert builds.jobs != before

    before = builds.jobs
    builds.stack.up("--replace=**batch/v1:Job::build")
    assert builds.jobs != before


def test_a_failed_build_s_last_lines_are_the_update_s_error_and_a_good_one_repairs_it(
    builds: Builds,
) -> None:
    def job(dockerfile: str) -> dict[str, Any]:
        return {"files": {"Dockerfile": dockerfile}}

    with pytest.raises(StackError) as failure:
        builds.up(job(f"{BASE}RUN echo the last words && exit 7\n"))
    _, _, error = failure.value.output.partition("kubernetes:batch/v1:Job (build):")
    assert "the last words" in error
    assert ">>> RUN echo the last words && exit 7" in error
    assert "exit code: 7" in error

    builds.up(job("FROM scratch\nCOPY Dockerfile /\n"))
    builds.stack.preview("--expect-no-changes")
    assert len(builds.jobs.split()) == 1


@pytest.fixture
def repository(lab: lifecycle.Lab, tmp_path: Path) -> Iterator[str]:
    """The URL of a Git repository with a project in its directory `app`."""
    project = tmp_path / "project.git"
    (project / "app").mkdir(parents=True)
    (project / "app/Containerfile").write_text(
        "FROM scratch AS wanted\n"
        "ARG WORD TARGETARCH\n"
        "COPY $WORD /argument\n"
        "COPY $TARGETARCH /architecture\n"
        "FROM scratch\n"
        "COPY nowhere /\n"
    )
    for word in ("given", "arm64"):
        (project / "app" / word).write_text(word)
    for arguments in (
        ("init", "--quiet", "--initial-branch=trunk"),
        ("add", "."),
        ("-c", "user.name=me", "-c", "user.email=me@example.com", "commit", "--quiet", "-m", "it"),
    ):
        subprocess.run(["git", *arguments], cwd=project, check=True)
    listening = (f"--listen={ADDRESS}", "--export-all", f"--base-path={tmp_path}")
    with serving(lab, "git", "daemon", "--verbose", *listening, ready="Ready to rumble"):
        yield f"git://{ADDRESS}/project.git"


def test_a_git_repository_is_built_as_told(builds: Builds, repository: str) -> None:
    builds.up(
        {
            "context": f"{repository}#trunk:app",
            "dockerfile": "Containerfile",
            "target": "wanted",
            "buildArgs": {"WORD": "given"},
            "platforms": ["linux/arm64"],
            "outputs": [image("from-git")],
        }
    )
    for file, content in {"argument": b"given", "architecture": b"arm64"}.items():
        assert registry.read_file(REGISTRY, "from-git", "latest", file) == content


def test_a_cache_in_the_registry_is_used_by_the_next_job(builds: Builds) -> None:
    cache = {"type": "registry", "ref": f"{REGISTRY}/cache:latest"}
    files = {"Dockerfile": "FROM scratch\nCOPY seed /\n", "seed": str(time.time_ns())}

    def log_of(label: str) -> str:
        job = {
            "files": files,
            "options": {"label:which": label},
            "cacheFrom": [cache],
            "cacheTo": [{**cache, "mode": "max"}],
        }
        builds.up(job)
        return builds.log

    assert "CACHED" not in log_of("first")
    assert re.search(r"^(#\d+) \[1/1\] COPY seed /\n\1 CACHED$", log_of("second"), re.M)


def test_a_build_secret_reaches_the_step_that_mounts_it_and_nothing_else(builds: Builds) -> None:
    token = secrets.token_hex()
    digest = hashlib.sha256(token.encode()).hexdigest()
    builds.kubectl("create", "secret", "generic", "tokens", f"--from-literal=npm={token}")
    step = "RUN --mount=type=secret,id=token sha256sum < /run/secrets/token > /digest\n"
    printed = builds.up(
        {
            "files": {"Dockerfile": f"{BASE}{step}"},
            "secrets": {"token": {"secret": "tokens", "key": "npm"}},
            "outputs": [image("secretive", compression="uncompressed")],
        }
    )
    pushed = b"".join(registry.blobs(REGISTRY, "secretive", "latest"))
    assert digest.encode() in pushed
    assert token.encode() not in pushed
    objects = builds.kubectl("get", "jobs,pods,configmaps", "--output=yaml")
    for place in (printed, builds.log, objects):
        assert token not in place


@pytest.fixture
def private_registry(lab: lifecycle.Lab, tmp_path: Path) -> Iterator[Path]:
    """A registry for those who know its password; where it keeps its repositories."""
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    configuration = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path)}},
        "http": {"addr": PRIVATE},
        "auth": {"htpasswd": {"realm": "lab", "path": str(tmp_path / "htpasswd")}},
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(configuration))
    command = (str(lab.node.at.tools / "registry"), "serve", str(tmp_path / "config.yml"))
    with serving(lab, "env", "OTEL_TRACES_EXPORTER=none", *command, ready="listening on"):
        yield tmp_path / "docker/registry/v2/repositories"


def test_registry_credentials_are_used_and_a_job_that_lacked_them_runs_again(
    builds: Builds, private_registry: Path
) -> None:
    def put_secret(password: str) -> None:
        account = ("--docker-username=builder", f"--docker-password={password}")
        server = ("docker-registry", "private", f"--docker-server={PRIVATE}")
        builds.kubectl("delete", "secret", "private", "--ignore-not-found")
        builds.kubectl("create", "secret", *server, *account)

    job = {
        "files": {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"},
        "outputs": [image("mine", registry=PRIVATE)],
        "registryCredentials": "private",
    }
    put_secret("wrong")
    with pytest.raises(StackError) as failure:
        builds.up(job)
    assert "401 Unauthorized" in failure.value.output
    assert not (private_registry / "mine/_manifests").exists()

    put_secret(PASSWORD)
    builds.up(job)
    assert (private_registry / "mine/_manifests/tags/latest").exists()


def test_a_secret_that_is_missing_is_said_at_preview(builds: Builds) -> None:
    builds.configure(
        {
            "files": {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"},
            "secrets": {"token": {"secret": "nowhere", "key": "npm"}},
        }
    )
    with pytest.raises(StackError) as failure:
        builds.stack.preview()
    line = "buildkit:job.secrets.token.secret: 'nowhere': is no Secret in the namespace jobs; "
    assert line in failure.value.output


def test_a_failed_build_is_tried_as_often_as_backoff_limit_says(builds: Builds) -> None:
    with pytest.raises(StackError) as failure:
        builds.up({"files": {"Dockerfile": "FROM scratch\nCOPY nowhere /\n"}, "backoffLimit": 1})
    assert '"/nowhere": not found' in failure.value.output
    # One each, all with the same status.
    failed = "jsonpath={.items[?(@.spec.backoffLimit==1)].status.failed}"
    assert builds.kubectl("get", "jobs", f"--output={failed}") == "2"


def test_a_build_past_its_deadline_is_ended_and_the_update_says_so(builds: Builds) -> None:
    with pytest.raises(StackError) as failure:
        builds.up(
            {"files": {"Dockerfile": f"{BASE}RUN sleep infinity\n"}, "deadline": 5},
            pod={"spec": {"terminationGracePeriodSeconds": 0}},
        )
    assert "DeadlineExceeded" in failure.value.output
    running = ("--field-selector=status.phase=Running", "--output=name")
    assert builds.kubectl("get", "pods", *running) == ""
