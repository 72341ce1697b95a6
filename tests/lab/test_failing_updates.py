"""An update that fails says why, and the BuildKit that runs goes on building."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pulumi import automation
from pulumi_buildkit import BuildkitDeployment, Certificates

from lab import lifecycle
from lab.engine import StackError
from tests.lab.conftest import Configured, Installation, greeting_of
from tests.lab.test_engine import namespace_of, program_stack

PATIENCE = 20  # seconds


def test_an_image_that_does_not_exist_is_named_and_builds_go_on(
    configured: Configured, installation: Installation
) -> None:
    started = time.monotonic()
    with pytest.raises(StackError) as failure:
        configured({"buildkit:image": "example.com/no/such:image", "buildkit:updateTimeout": 20})
    assert "example.com/no/such:image" in failure.value.output
    assert "ErrImagePull" in failure.value.output or "ImagePullBackOff" in failure.value.output
    assert time.monotonic() - started < PATIENCE + 30

    greeting = f"still here at {time.time_ns()}"
    assert installation.build("survivor", greeting).returncode == 0
    assert greeting_of("survivor") == greeting


def test_the_next_good_up_repairs_it(configured: Configured, installation: Installation) -> None:
    with pytest.raises(StackError):
        configured({"buildkit:image": "example.com/no/such:image", "buildkit:updateTimeout": 10})
    repaired = configured({})
    assert repaired.buildctl("debug", "workers").returncode == 0
    installation.lab.stack().preview("--expect-no-changes")


Update = Callable[..., automation.UpResult]


@pytest.fixture
def component(lab: lifecycle.Lab, tmp_path: Path) -> Iterator[Update]:
    """Updates of a program of its own that uses the components, with other arguments each."""

    def program(**arguments: Any) -> None:
        certificates = Certificates(
            "certificates", {"namespace": "component", "sans": ["buildkitd"], "clients": ["me"]}
        )
        args: Any = {
            "namespace": "component",
            "certificates": certificates.server_secrets["daemon"],
            "update_timeout": PATIENCE,
            **arguments,
        }
        BuildkitDeployment("buildkitd", args)

    def up(**arguments: Any) -> automation.UpResult:
        return program_stack(lab, "component", lambda: program(**arguments), tmp_path).up()

    with namespace_of(lab, "component"):
        yield up
        program_stack(lab, "component", program, tmp_path).destroy(remove=True)


def workers(lab: lifecycle.Lab) -> str:
    """What the BuildKit that is ready answers, asked as `kube-pod://` asks."""
    ready = "--field-selector=status.phase=Running"
    pods = lab.node.kubectl("--namespace=component", "get", "pods", ready, "--output=name")
    pod = next(name for name in pods.split() if is_ready(lab, name))
    return lab.node.kubectl(
        "--namespace=component", "exec", pod, "--", "buildctl", "debug", "workers"
    )


def is_ready(lab: lifecycle.Lab, pod: str) -> bool:
    ready = "--output=jsonpath={.status.containerStatuses[*].ready}"
    return lab.node.kubectl("--namespace=component", "get", pod, ready) == "true"


def test_a_configuration_that_buildkitd_refuses_is_said_in_its_own_words(
    lab: lifecycle.Lab, component: Update
) -> None:
    component()
    with pytest.raises(automation.CommandError) as failure:
        component(daemon={"registries": {"example.com": {"http": "perhaps"}}})
    assert "CrashLoopBackOff" in str(failure.value) or "Error" in str(failure.value)
    assert "failed to load config" in str(failure.value) or "toml" in str(failure.value)
    assert "linux/amd64" in workers(lab)
    component()
    assert "linux/amd64" in workers(lab)


def test_a_secret_that_is_missing_is_named(lab: lifecycle.Lab, component: Update) -> None:
    component()
    with pytest.raises(automation.CommandError) as failure:
        component(certificates="no-such-secret")
    assert "no-such-secret" in str(failure.value)
    assert "linux/amd64" in workers(lab)
