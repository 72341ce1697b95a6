import time
from pathlib import Path

import pytest
import yaml

from lab.network import REGISTRY
from tests.lab.building import create_builder
from tests.lab.conftest import Configured, Installation, assert_builds, greeting_of, install


def test_buildctl_builds_pushes_and_the_image_holds_what_was_built(
    installation: Installation,
) -> None:
    assert_builds(installation, "buildctl")


def test_the_printed_buildctl_command_builds(installation: Installation) -> None:
    result = installation.run("sh", "-c", installation.outputs["buildctl_command"])
    assert result.returncode == 0, result.stderr


def test_the_printed_buildx_command_makes_a_builder_that_builds(
    installation: Installation, tmp_path: Path
) -> None:
    installation = install(installation.lab, installation.outputs, tmp_path)
    create = installation.outputs["buildx_command"].replace("docker buildx", "docker-buildx")
    assert installation.run("sh", "-c", create).returncode == 0
    build = ("docker-buildx", "build", "--builder=buildkit", "--build-arg=GREETING=from buildx")
    result = installation.run(*build, "--output=type=local,dest=out", ".")
    assert result.returncode == 0, result.stderr
    assert (installation.directory / "out/greeting").read_text() == "from buildx\n"


@pytest.fixture
def compose(tmp_path: Path) -> Path:
    """A project of two services, of which one's image is made on the other's."""
    services = {
        "api": {
            "image": f"{REGISTRY}/compose-api",
            "build": {"context": ".", "args": {"GREETING": "${GREETING}"}},
        },
        "worker": {
            "image": f"{REGISTRY}/compose-worker",
            "build": {
                "additional_contexts": {"api": "service:api"},
                "dockerfile_inline": "FROM api\nRUN echo from the worker >> greeting\n",
            },
            "depends_on": ["api"],
        },
        "database": {"image": f"{REGISTRY}/database"},
    }
    file = tmp_path / "compose.yaml"
    file.write_text(yaml.safe_dump({"services": services}))
    return file


def test_bake_builds_and_pushes_the_services_of_a_compose_file(
    installation: Installation, compose: Path
) -> None:
    create_builder(installation)
    greeting = f"hello from compose at {time.time_ns()}"
    bake = ("docker-buildx", "bake", "--builder=buildkit", f"--file={compose}", "--push")
    baked = installation.run("env", f"GREETING={greeting}", *bake)
    assert baked.returncode == 0, baked.stderr
    assert greeting_of("compose-api") == greeting
    assert greeting_of("compose-worker") == f"{greeting}\nfrom the worker"


def test_the_tcp_gateway_builds(configured: Configured) -> None:
    assert_builds(configured({"buildkit:gateway": {"protocol": "tcp"}}), "tcp")
