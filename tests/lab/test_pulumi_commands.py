"""Pulumi's own commands in the lab's shell, in the checkout, on the stack that `make up` made.

Each test goes on from where the one before it left the stack.
"""

import pytest

from lab import lifecycle
from lab.engine import StackError
from tests.lab.conftest import FirstUp, make, tracked_changes
from tests.lab.test_make import lab_shell, shell

pytestmark = pytest.mark.alone

REPLICAS = (
    "kubectl --namespace $(pulumi stack output namespace) get deployment/buildkit-gateway "
    "--output=jsonpath={.spec.replicas}"
)


@pytest.fixture(scope="module", autouse=True)
def made(first_up: FirstUp) -> None:
    """The stack as `make up` leaves it."""
    up()


def up() -> str:
    result = make("up")
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_a_preview_after_make_up_shows_no_change() -> None:
    lab_shell("pulumi preview --expect-no-changes")


def test_pulumi_up_applies_what_config_set_changed_and_make_up_agrees() -> None:
    said = lab_shell(
        "pulumi config set --path buildkit:gateway.replicas 1",
        "pulumi up --yes --skip-preview",
        REPLICAS,
    )
    assert said.endswith("\n1")
    up()
    assert lab_shell("pulumi preview --expect-no-changes", REPLICAS).endswith("\n1")


def test_a_refresh_finds_what_kubectl_changed_and_the_next_up_mends_it() -> None:
    said = lab_shell(
        "kubectl --namespace $(pulumi stack output namespace) "
        "scale --replicas=3 deployment/buildkit-gateway",
        "pulumi refresh --yes --skip-preview",
        "pulumi up --yes --skip-preview",
        REPLICAS,
    )
    assert said.endswith("\n1")


def test_a_wrong_key_is_one_line_and_changes_nothing() -> None:
    before = lifecycle.STACK_FILE.read_text()
    refused = shell(
        'eval "$(make -s env)"; pulumi config set buildkit:mod pod; pulumi preview', PS4=""
    )
    lifecycle.STACK_FILE.write_text(before)
    assert refused.returncode != 0
    assert "buildkit:mod" in refused.stdout


def test_make_up_keeps_the_lock_of_a_pulumi_that_runs() -> None:
    lab = lifecycle.running()
    assert lab
    locks = lab.engine.state / ".pulumi" / "locks" / "organization" / "buildkit" / lifecycle.STACK
    locks.mkdir(parents=True, exist_ok=True)
    (locks / "test.json").write_text('{"pid": 1}')
    try:
        with pytest.raises(StackError, match=r"pulumi is at work on the stack lab \(process 1\)"):
            lab.own_stack().recover()
    finally:
        (locks / "test.json").unlink()


def test_make_up_brings_back_what_pulumi_destroyed() -> None:
    lab_shell("pulumi destroy --yes --skip-preview")
    assert "was built, pushed and read back" in up()
    assert lab_shell("pulumi preview --expect-no-changes", REPLICAS).endswith("\n1")


@pytest.mark.parametrize(
    ("mode", "security", "said"),
    [
        ("pod", "rootless", "endpoint   kube-pod://buildkitd?namespace="),
        ("job", "userns", "job/build-"),
        ("statefulset", "privileged", "was built, pushed and read back"),
    ],
)
def test_make_up_builds_in_every_mode(mode: str, security: str, said: str) -> None:
    lab_shell(
        f"pulumi config set buildkit:mode {mode}", f"pulumi config set buildkit:security {security}"
    )
    printed = up()
    assert said in printed
    begin = printed.index("\nIn this directory")
    assert ("client-certs" in printed[begin:]) == (mode == "statefulset")
    lab_shell("pulumi preview --expect-no-changes")


def test_a_stateful_sets_claim_is_let_go_of_as_pulumi_says() -> None:
    lab_shell(
        "pulumi state unprotect --all --yes",
        "pulumi config set buildkit:mode deployment",
        "pulumi config set buildkit:security rootless",
        "pulumi config rm --path buildkit:gateway.replicas",
    )
    assert "was built, pushed and read back" in up()


def test_no_command_changed_a_tracked_file(first_up: FirstUp) -> None:
    assert tracked_changes() == first_up.tracked_before
