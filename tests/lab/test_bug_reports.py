"""What others reported of BuildKit's clients and of proxies before it, at the gateway.

docs/decisions/bug-reports.md names the reports.
"""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab.building import BUILDX, CLIENTS, create_builder, step
from tests.lab.conftest import Count, Installation

NAMES = ("with space", "ünï ço∂é", "日本語", "проект", "new\nline", "-dash", "n" * 255, "a:b,c=d")
STAGES, LINES = 300, 50


def builds(installation: Installation, by: str, project: Path, *options: str) -> list[str]:
    """The command by which a client builds a *project*."""
    if by == BUILDX:
        create_builder(installation)
        return ["docker-buildx", "build", "--builder=buildkit", *options, str(project)]
    files = (f"--local=context={project}", f"--local=dockerfile={project}")
    connection = installation.connection(installation.directory / "certs")
    return [*connection, "build", "--frontend=dockerfile.v0", *files, *options]


def bake(installation: Installation, directory: Path, targets: dict[str, dict[str, Any]]) -> None:
    """Bake all *targets* at once."""
    file = directory / "docker-bake.json"
    file.write_text(json.dumps({"group": {"default": {"targets": [*targets]}}, "target": targets}))
    create_builder(installation)
    command = ("docker-buildx", "bake", "--builder=buildkit", "--allow=fs=*", f"--file={file}")
    baked = installation.run(*command)
    assert baked.returncode == 0, baked.stderr


@pytest.mark.parametrize("by", CLIENTS)
def test_directories_and_files_may_have_any_name(
    installation: Installation, tmp_path: Path, by: str
) -> None:
    project = tmp_path / "проект 日本"
    project.mkdir()
    for name in NAMES:
        (project / name).write_text(name)
    copied = json.dumps([*NAMES[:4], "/"])
    (project / "Dockerfile").write_text(
        f"FROM scratch AS named\nCOPY {copied}\n"
        "FROM scratch\nCOPY . /\nCOPY --from=named / /named/\n"
    )
    out = tmp_path / "out"
    done = installation.run(*builds(installation, by, project, f"--output=type=local,dest={out}"))
    assert done.returncode == 0, done.stderr
    assert {name: (out / name).read_text() for name in NAMES} == {name: name for name in NAMES}
    assert {file.name for file in (out / "named").iterdir()} == {*NAMES[:4]}


def test_two_services_may_share_a_directory_of_any_name(
    installation: Installation, tmp_path: Path
) -> None:
    project = tmp_path / "项目"
    project.mkdir()
    (project / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    out = tmp_path / "out"
    targets = {
        name: {"context": str(project), "output": [f"type=local,dest={out / name}"]}
        for name in ("api", "worker")
    }
    bake(installation, tmp_path, targets)
    assert all((out / name / "Dockerfile").exists() for name in targets)


@pytest.mark.parametrize("by", CLIENTS)
def test_one_stage_is_built_of_a_dockerfile_of_thousands_of_steps(
    installation: Installation, tmp_path: Path, by: str
) -> None:
    steps = "".join(f"RUN echo {number} {'long ' * 10}\n" for number in range(LINES))
    stages = "".join(f"FROM debian:bookworm-slim AS s{stage}\n{steps}" for stage in range(STAGES))
    wanted = "FROM scratch AS wanted\nCOPY <<EOF /greeting\nfound\nEOF\n"
    (tmp_path / "Dockerfile").write_text(stages + wanted)
    out = tmp_path / "out"
    target = "--target=wanted" if by == BUILDX else "--opt=target=wanted"
    options = (target, f"--output=type=local,dest={out}")
    done = installation.run(*builds(installation, by, tmp_path, *options))
    assert done.returncode == 0, done.stderr[-2000:]
    assert (out / "greeting").read_text() == "found\n"


def test_a_target_that_has_ended_leaves_its_sibling_alone(
    installation: Installation, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    dockerfiles = {
        "quick": "FROM scratch\nCOPY <<EOF /greeting\nquick\nEOF\n",
        "slow": step(f"echo begun {time.time_ns()} && sleep 10 && echo slow > /greeting"),
    }
    targets = {
        name: {"dockerfile-inline": text, "output": [f"type=local,dest={out / name}"]}
        for name, text in dockerfiles.items()
    }
    bake(installation, tmp_path, targets)
    assert {name: (out / name / "greeting").read_text() for name in targets} == {
        name: f"{name}\n" for name in targets
    }


@pytest.mark.parametrize("by", CLIENTS)
def test_a_result_may_have_many_files(
    installation: Installation, tmp_path: Path, count: Count, by: str
) -> None:
    files = count("files", 100_000, 5_000)
    dockerfile = (
        "FROM debian:bookworm-slim AS steps\n"
        f"RUN mkdir /many && cd /many && seq -w {files} | xargs touch\n"
        "FROM scratch\nCOPY --from=steps /many /\n"
    )
    (tmp_path / "Dockerfile").write_text(dockerfile)
    out = tmp_path / "out"
    command = builds(installation, by, tmp_path, f"--output=type=local,dest={out}")
    done = installation.run(*command, timeout=600)
    assert done.returncode == 0, done.stderr
    assert len([*out.iterdir()]) == files
