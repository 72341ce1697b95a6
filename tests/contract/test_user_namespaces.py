"""UserNamespaces: the sysctl on every node."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pulumi_buildkit import BUSYBOX_IMAGE, UserNamespaces

from tests.contract.test_provider import construct
from tests.recording import Recording, record


def make(**args: Any) -> Recording:
    merged: Any = {"namespace": "build", **args}
    return record(lambda: UserNamespaces("userns", merged))


def pod(made: Recording) -> dict[str, Any]:
    return made.one("DaemonSet").inputs["spec"]["template"]["spec"]


def container(made: Recording) -> dict[str, Any]:
    (only,) = pod(made)["containers"]
    return only


def script(made: Recording) -> str:
    return container(made)["command"][-1]


SYSCTL = """#!/bin/sh
case "$1" in
    -n) cat value ;;
    -w) echo "${2#*=}" > value ;;
esac
"""


@pytest.mark.parametrize(
    ("maximum", "before", "after"), [(63359, 0, 63359), (63359, 96365, 96365), (99, 0, 99)]
)
def test_a_node_allows_at_least_as_many_as_it_is_told(
    tmp_path: Path, maximum: int, before: int, after: int
) -> None:
    value = tmp_path / "value"
    value.write_text(str(before))
    for command, text in (("sysctl", SYSCTL), ("sleep", "#!/bin/sh\n")):
        (tmp_path / command).write_text(text)
        (tmp_path / command).chmod(0o755)
    made = container(make(maximum=maximum))
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ready = made["readinessProbe"]["exec"]["command"]
    assert bool(subprocess.run(ready, cwd=tmp_path, env=variables).returncode) is (before < maximum)
    subprocess.run(made["command"], cwd=tmp_path, env=variables, check=True)
    assert int(value.read_text()) == after
    subprocess.run(ready, cwd=tmp_path, env=variables, check=True)


def test_the_default_is_upstream_s() -> None:
    assert "63359" in script(make())


def test_a_sysctl_that_fails_is_a_pod_that_fails() -> None:
    made = make()
    assert container(made)["command"][:2] == ["sh", "-euxc"]
    assert container(made)["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_it_may_write_what_belongs_to_the_node() -> None:
    assert container(make())["securityContext"]["privileged"] is True


def test_the_image_can_be_given() -> None:
    assert container(make())["image"] == BUSYBOX_IMAGE
    assert container(make(image="mirror:5000/busybox"))["image"] == "mirror:5000/busybox"


def test_a_large_cluster_is_updated_at_once() -> None:
    made = make()
    rolling = made.one("DaemonSet").inputs["spec"]["updateStrategy"]["rollingUpdate"]
    assert rolling == {"maxUnavailable": "100%"}
    assert pod(made)["terminationGracePeriodSeconds"] == 1


def test_an_update_waits_as_long_as_it_is_told() -> None:
    assert make().one("DaemonSet").request.customTimeouts.create == "600s"
    assert make(update_timeout=60).one("DaemonSet").request.customTimeouts.update == "60s"


def test_a_hosted_one_takes_floats() -> None:
    made = construct("UserNamespaces", namespace="build", maximum=2000.0, updateTimeout=30.0)
    assert "user.max_user_namespaces=2000;" in script(made)
    assert made.one("DaemonSet").request.customTimeouts.create == "30s"
