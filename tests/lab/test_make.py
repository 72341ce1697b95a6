import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from lab import build
from lab.paths import REPO
from tests.lab import machine
from tests.lab.conftest import FirstUp, Installation, make, tracked_changes

pytestmark = pytest.mark.alone


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in the checkout, as a user would."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=REPO,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def lab_shell(*commands: str) -> str:
    """What commands print in the lab's shell, when all of them end well."""
    result = shell("\n".join(['eval "$(make -s env)"', *commands]))
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_make_up_ends_with_what_to_do_next(first_up: FirstUp, installation: Installation) -> None:
    assert first_up.result.returncode == 0
    said = first_up.result.stdout
    for name in ("endpoint", "namespace", "buildctl_command"):
        assert installation.outputs[name] in said
    assert installation.create_command() in said
    assert "client-certs CLIENT=dev DIR=$PWD/certs" in said


def test_make_up_says_what_it_ran(first_up: FirstUp, installation: Installation) -> None:
    said = first_up.result.stdout.splitlines()
    assert str(installation.lab.engine) in said
    assert build.versions() in said


def test_the_commands_that_make_up_prints_build(first_up: FirstUp, tmp_path: Path) -> None:
    printed = [line.strip() for line in first_up.result.stdout.splitlines()]
    begin, end = printed.index('eval "$(make -s env)"'), printed.index("Try next:")
    commands = [line for line in printed[begin + 1 : end] if line and not line.endswith(":")]
    (tmp_path / "Dockerfile").write_text("FROM debian:bookworm-slim\nRUN echo built\n")
    script = "\n".join(['eval "$(make -s env)"', f"cd {tmp_path}", *commands])
    environment = {"BUILDX_CONFIG": str(tmp_path / "buildx")}
    result = shell(script, **environment)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("RUN echo built") >= 2


def test_a_second_up_changes_nothing(installation: Installation) -> None:
    stack = installation.lab.stack()
    stack.preview("--expect-no-changes")
    stack.refresh()
    stack.preview("--expect-no-changes")


def test_make_env_gives_a_shell_the_lab(installation: Installation) -> None:
    commands = ("kubectl get nodes", "pulumi stack output endpoint")
    said = lab_shell(*commands, "buildctl --version", "docker-buildx version")
    assert "buildkit-lab" in said
    assert installation.outputs["endpoint"] in said


@pytest.mark.parametrize(
    "command", ["make -s status", 'eval "$(make -s env)"; make status STACK=lab']
)
def test_make_status_shows_the_labs_stack_or_one_that_is_named(
    installation: Installation, command: str
) -> None:
    result = shell(command)
    assert result.returncode == 0, result.stderr
    title = f"{installation.outputs['namespace']}: {installation.outputs['endpoint']}"
    assert title in result.stdout.splitlines()
    for pod in (*installation.pods("buildkitd"), *installation.pods("buildkit-gateway")):
        assert f"\n  {pod} " in result.stdout


def test_make_client_certs_writes_files_that_only_their_owner_reads(
    installation: Installation, tmp_path: Path
) -> None:
    assert make("client-certs", "CLIENT=dev", f"DIR={tmp_path}/certs").returncode == 0
    files = sorted((tmp_path / "certs").iterdir())
    assert [file.name for file in files] == ["ca.pem", "cert.pem", "key.pem"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    outputs = installation.outputs["clients"]["dev"]
    assert [file.read_text() for file in files] == [outputs[k] for k in ("ca", "cert", "key")]


def test_make_client_certs_names_the_clients_that_there_are(installation: Installation) -> None:
    result = make("client-certs", "CLIENT=nobody")
    assert result.returncode != 0
    assert "CLIENT=nobody is not in buildkit:clients; there are dev" in result.stderr


def test_the_shell_of_make_env_still_knows_its_own_lab(
    installation: Installation, tmp_path: Path
) -> None:
    lab_shell(f"make -s client-certs CLIENT=dev DIR={tmp_path}/certs")
    assert (tmp_path / "certs/key.pem").exists()


def test_a_given_cluster_is_used_and_left_alone_until_it_is_named(
    installation: Installation, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(installation.lab.node.kubeconfig.read_text())
    context = yaml.safe_load(kubeconfig.read_text())["current-context"]

    up = make("up", KUBECONFIG=str(kubeconfig))
    assert up.returncode == 0, up.stderr
    assert f"the cluster is {context}, from KUBECONFIG" in up.stdout
    assert re.search(
        r"^an image was built in buildkit-dev-\w+ and fetched", up.stdout, re.MULTILINE
    )

    refused = make("down", KUBECONFIG=str(kubeconfig))
    assert refused.returncode != 0
    assert f"make down CLUSTER={context}" in refused.stderr

    down = make("down", f"CLUSTER={context}", KUBECONFIG=str(kubeconfig))
    assert down.returncode == 0, down.stderr
    assert installation.buildctl("debug", "workers").returncode == 0


def test_the_tracked_files_are_untouched(first_up: FirstUp, installation: Installation) -> None:
    assert tracked_changes() == first_up.tracked_before


@pytest.fixture(scope="module")
def second_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone beside this checkout; only the Python environment is the same one."""
    clone = tmp_path_factory.mktemp("second") / "checkout"
    subprocess.run(["git", "clone", "--quiet", str(REPO), str(clone)], check=True)
    (clone / ".venv").symlink_to(REPO / ".venv")
    return clone


def test_a_second_checkout_leaves_a_running_lab_alone(
    installation: Installation, second_checkout: Path
) -> None:
    refused = make("down", directory=second_checkout)
    assert refused.returncode != 0
    assert f"the lab belongs to {REPO}" in refused.stderr
    assert installation.buildctl("debug", "workers").returncode == 0


@pytest.mark.last
def test_a_second_checkout_takes_the_lab_over_and_says_so(
    installation: Installation, second_checkout: Path
) -> None:
    taken = make("up", directory=second_checkout)
    assert taken.returncode == 0, taken.stderr
    assert f"taking the lab over from {REPO}" in taken.stderr
    refused = make("client-certs")
    assert "no lab of this checkout is running; start it with make up" in refused.stderr
    assert make("down", directory=second_checkout).returncode == 0


@pytest.mark.last
def test_make_down_leaves_the_machine_as_it_was(first_up: FirstUp) -> None:
    result = make("down")
    assert result.returncode == 0, result.stderr
    assert machine.differences(first_up.machine_before, machine.snapshot()) == []
