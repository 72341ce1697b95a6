from pathlib import Path

from tests.lab.conftest import Configured, Installation, assert_builds, install


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


def test_the_tcp_gateway_builds(configured: Configured) -> None:
    assert_builds(configured({"buildkit:gateway": {"protocol": "tcp"}}), "tcp")
