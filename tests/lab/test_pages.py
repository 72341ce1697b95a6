"""Commands of the pages that have no other test: they do what the page says."""

import json
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.lab.building import BEGUN, BUILDCTL, build, takes
from tests.lab.conftest import Installation
from tests.lab.gateway_log import GatewayLog
from tests.lab.page_commands import run, said
from tests.lab.test_engine import namespace_of
from tests.pages import block

pytestmark = pytest.mark.usefixtures("jq")


def test_a_client_s_files_come_from_the_outputs(installation: Installation, tmp_path: Path) -> None:
    said(installation, tmp_path, "certificates.md", "for file in ca cert key")
    assert Installation(installation.lab, installation.outputs, tmp_path).is_let_in()


def test_a_build_and_its_bytes_are_told_from_the_log(
    installation: Installation, tmp_path: Path
) -> None:
    log = GatewayLog(installation)
    assert installation.build("told", "told from the log").returncode == 0
    lines = log.wait(2, rpc="/")
    expected = {
        "client": "spiffe://buildkit/client/dev",
        "builds": ["OK"],
        "bytes": sum(line["received"] for line in lines),
    }
    told = said(installation, tmp_path, "access.md", "group_by").splitlines()
    assert expected in [json.loads(line) for line in told]


def test_a_drain_ends_at_the_third_signal_and_is_an_event(
    installation: Installation, tmp_path: Path
) -> None:
    (pod,) = installation.pods("buildkitd")
    with build(installation, BUILDCTL, takes(600)) as cut:
        cut.wait_for(BEGUN)
        installation.kubectl("delete", f"pod/{pod}", "--wait=false")
        # Its own end is the container's.
        run(installation, tmp_path, "rollouts.md", "kill 1", POD=pod)
        cut.fails("EOF|RST_STREAM|connection termination")
    installation.kubectl("wait", f"pod/{pod}", "--for=delete", "--timeout=60s")
    assert pod in said(installation, tmp_path, "rollouts.md", "FailedPreStopHook")


def test_two_rights_are_enough_for_kube_pod(installation: Installation, tmp_path: Path) -> None:
    """A service account has none of them, then both."""
    namespace = installation.outputs["namespace"]
    (tmp_path / "role.yaml").write_text(block("yaml", "troubleshooting.md", "kind: Role"))
    with namespace_of(installation.lab, "kube-pod") as of_ci:
        kubectl = partial(installation.lab.node.kubectl, f"--namespace={of_ci}")
        kubectl("create", "serviceaccount", "builder")
        token = kubectl("create", "token", "builder")
        kubeconfig = json.loads(installation.lab.node.kubeconfig.read_text())
        kubeconfig["users"][0]["user"] = {"token": token}
        (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))

        def dial() -> subprocess.CompletedProcess[str]:
            (pod,) = installation.pods("buildkitd")
            address = f"kube-pod://{pod}?namespace={namespace}"
            client = Installation(installation.lab, installation.outputs, tmp_path)
            as_builder = ("env", f"KUBECONFIG={tmp_path / 'kubeconfig'}")
            return client.run(*as_builder, "buildctl", "--addr", address, "debug", "workers")

        refused = dial()
        assert refused.returncode and "orbidden" in refused.stderr
        names = {"--namespace builds": f"--namespace {namespace}", "ci:builder": f"{of_ci}:builder"}
        said(installation, tmp_path, "troubleshooting.md", "create rolebinding", **names)
        assert dial().returncode == 0
        installation.kubectl("delete", "role/buildkit-client", "rolebinding/buildkit-client")
