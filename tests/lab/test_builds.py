import subprocess
import time

import pytest

from tests.lab.conftest import Configured, Installation, greeting_of


def assert_builds(installation: Installation, name: str) -> None:
    greeting = f"hello from {name} at {time.time_ns()}"
    result = installation.build(name, greeting)
    assert result.returncode == 0, result.stderr
    assert greeting_of(name) == greeting


def test_buildctl_builds_pushes_and_the_image_holds_what_was_built(
    installation: Installation,
) -> None:
    assert_builds(installation, "buildctl")


def test_the_printed_buildctl_command_builds(installation: Installation) -> None:
    result = installation.run("sh", "-c", installation.outputs["buildctl_command"])
    assert result.returncode == 0, result.stderr


def test_the_printed_buildx_command_makes_a_builder_that_builds(
    installation: Installation,
) -> None:
    create = installation.outputs["buildx_command"].replace("docker buildx", "docker-buildx")
    assert installation.run("sh", "-c", create).returncode == 0
    build = ("docker-buildx", "build", "--builder=buildkit", "--build-arg=GREETING=from buildx")
    result = installation.run(*build, "--output=type=local,dest=out", ".")
    assert result.returncode == 0, result.stderr
    assert (installation.directory / "out/greeting").read_text() == "from buildx\n"


@pytest.mark.parametrize(
    ("security", "context", "host_users"),
    [
        ("privileged", '"privileged":true', ""),
        ("userns", '"privileged":true', "false"),
        ("rootless", '"runAsUser":1000', ""),
    ],
)
def test_one_line_of_config_switches_the_security_variant(
    configured: Configured, security: str, context: str, host_users: str
) -> None:
    installation = configured({"buildkit:security": security})
    assert_builds(installation, security)
    (pod,) = installation.pods("buildkitd")
    said = ("get", f"pod/{pod}", "--output")
    security_context = "jsonpath={.spec.containers[*].securityContext}"
    assert context in installation.kubectl(*said, security_context)
    assert installation.kubectl(*said, "jsonpath={.spec.hostUsers}") == host_users


def test_the_tcp_gateway_builds(configured: Configured) -> None:
    assert_builds(configured({"buildkit:gateway": {"protocol": "tcp"}}), "tcp")


def test_a_build_submitted_while_no_buildkitd_is_there_waits_and_succeeds(
    installation: Installation,
) -> None:
    def scale(replicas: int, condition: str) -> None:
        installation.kubectl("scale", "deployment/buildkitd", f"--replicas={replicas}")
        pods = ("pods", "--selector=app=buildkitd", "--timeout=60s")
        installation.kubectl("wait", *pods, f"--for={condition}")

    greeting = f"held at {time.time_ns()}"
    scale(0, "delete")
    build = subprocess.Popen(
        installation.build_command("held", greeting),
        cwd=installation.directory,
        env=installation.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        build.wait(timeout=25)  # buildctl gives up on a gateway that doesn't answer after 20 s
    installation.kubectl("scale", "deployment/buildkitd", "--replicas=1")
    _, errors = build.communicate(timeout=60)
    assert build.returncode == 0, errors
    assert greeting_of("held") == greeting
