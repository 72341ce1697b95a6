import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from lab.paths import REPO
from tests.lab import machine
from tests.lab.conftest import FirstUp, Installation, make, tracked_changes

pytestmark = pytest.mark.alone


def test_make_up_ends_with_what_to_do_next(first_up: FirstUp, installation: Installation) -> None:
    assert first_up.result.returncode == 0
    said = first_up.result.stdout
    for name in ("endpoint", "namespace", "buildx_command", "buildctl_command"):
        assert installation.outputs[name] in said
    assert "make client-certs CLIENT=dev DIR=certs" in said


def test_make_up_says_which_pulumi_it_ran(first_up: FirstUp, installation: Installation) -> None:
    assert str(installation.lab.engine) in first_up.result.stdout.splitlines()


def test_a_second_up_changes_nothing(installation: Installation) -> None:
    stack = installation.lab.stack()
    stack.preview(expect_no_changes=True)
    stack.refresh()
    stack.preview(expect_no_changes=True)


def test_make_env_gives_a_shell_the_lab(installation: Installation) -> None:
    commands = (
        "kubectl get nodes",
        "pulumi stack output --stack dev endpoint",
        "buildctl --version",
        "docker-buildx version",
    )
    script = 'eval "$(make -s env)" && ' + " && ".join(commands)
    result = subprocess.run(["bash", "-c", script], cwd=REPO, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "buildkit-lab" in result.stdout
    assert installation.outputs["endpoint"] in result.stdout


@pytest.mark.parametrize(
    "command", ["make -s status", 'eval "$(make -s env)"; make status STACK=dev']
)
def test_make_status_shows_the_dev_stack_or_one_that_is_named(
    installation: Installation, command: str
) -> None:
    result = subprocess.run(["bash", "-c", command], cwd=REPO, capture_output=True, text=True)
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
    script = f'eval "$(make -s env)" && make -s client-certs CLIENT=dev DIR={tmp_path}/certs'
    result = subprocess.run(["bash", "-c", script], cwd=REPO, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "certs/key.pem").exists()


def test_a_given_cluster_is_used_and_left_alone_until_it_is_named(
    installation: Installation, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(installation.lab.node.kubeconfig.read_text())
    context = yaml.safe_load(kubeconfig.read_text())["current-context"]

    up = make("up", KUBECONFIG=str(kubeconfig))
    assert up.returncode == 0, up.stderr
    assert f"an image was built in {context}" in up.stdout

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
