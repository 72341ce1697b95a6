"""Every command that the pages show is run by a test, or its page says that it is not."""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.pages import Command, blocks, commands
from tests.recording import REPO

RUN = {
    "make up": ("tests/lab/test_make.py", 'make("up"'),
    "KUBECONFIG=* make up": ("tests/lab/test_make.py", 'make("up", KUBECONFIG='),
    "make test": (".ci/run", "make test"),
    "make lock": ("tests/unit/test_supply.py", '"make", "lock"'),
    "make sbom": ("tests/unit/test_supply.py", '"make", "-s", "sbom"'),
    "python3 -m venv .venv": ("lab/bootstrap.py", '"-m", "venv", str(VENV)'),
    ".venv/bin/pip install --require-hashes *": (
        "lab/bootstrap.py",
        '"--require-hashes", "--requirement"',
    ),
    ".venv/bin/pip install --no-deps *": (
        "lab/bootstrap.py",
        '"--no-deps", "--no-build-isolation", "--editable", "components"',
    ),
    "make client-certs CLIENT=* DIR=*": ("tests/lab/test_make.py", '"client-certs", "CLIENT=dev"'),
    "make status": ("tests/lab/test_make.py", "make -s status"),
    "make status STACK=*": ("tests/lab/test_make.py", "make status STACK=lab"),
    "make preflight KUBECONFIG=*": ("tests/lab/test_preflight.py", 'make("preflight", KUBECONFIG='),
    "make render STACK=dev DIR=manifests*": ("tests/lab/test_render.py", '"render", f"STACK='),
    "kubectl apply --server-side *": ("tests/lab/test_render.py", '"apply", "--server-side"'),
    "pulumi stack rm --force *": ("tests/lab/test_render.py", '"stack", "rm", "--force"'),
    "cp examples/stacks/*": ("tests/lab/test_stack_files.py", "STACKS[name].read_text()"),
    "mkdir -p certs": ("tests/lab/test_pages.py", '"for file in ca cert key"'),
    "for file in ca cert key; do *": ("tests/lab/test_pages.py", '"for file in ca cert key"'),
    "pulumi up": ("tests/lab/conftest.py", "stack.up()"),
    "pulumi up --replace '**batch/v1:Job::build'": (
        "tests/lab/test_jobs.py",
        'up("--replace=**batch/v1:Job::build")',
    ),
    "pulumi up --replace '**LocallySignedCert::**'": (
        "tests/lab/test_renewal.py",
        'up("--replace=**LocallySignedCert::**")',
    ),
    "pulumi preview*": ("tests/lab/conftest.py", ").preview()"),
    "pulumi cancel": ("tests/lab/test_engine.py", "stack.cancel()"),
    "PULUMI_K8S_UPSERT_EXISTING_OBJECTS=true pulumi up": (
        "tests/lab/test_engine.py",
        'PULUMI_K8S_UPSERT_EXISTING_OBJECTS="true"',
    ),
    "pulumi stack init *": ("lab/engine.py", '"stack", "select", "--create"'),
    "pulumi stack output *": ("tests/lab/test_make.py", "pulumi stack output endpoint"),
    "pulumi config set *": ("tests/lab/test_own_certificates.py", '"config", "set"'),
    'eval "$(pulumi stack output * buildx_append_command)"': (
        "tests/lab/test_farm.py",
        'outputs["buildx_append_command"]',
    ),
    'eval "$(pulumi stack output* buildx_command)"': (
        "tests/lab/test_builds.py",
        'outputs["buildx_command"]',
    ),
    "docker buildx build --builder buildkit .": (
        "tests/lab/test_builds.py",
        '"docker-buildx", "build", "--builder=buildkit"',
    ),
    "docker buildx create *": ("tests/lab/both_clients.py", '"docker-buildx", "create"'),
    "buildctl --addr tcp://*": ("tests/lab/conftest.py", "client.buildctl("),
    'buildctl --addr "kube-pod://$pod?namespace=build" *': (
        "tests/lab/test_modes.py",
        'buildctl --addr "{address}" build',
    ),
    "pod=$(buildkit-pod *)": ("tests/lab/test_modes.py", "$(buildkit-pod "),
    "kubectl * port-forward service/buildkit-gateway 1234 &": (
        "lab/first_build.py",
        'f"service/{service}"',
    ),
    "kubectl * logs --selector app=buildkit-gateway --tail -1 | grep '^{' | jq *": (
        "tests/lab/test_pages.py",
        '"group_by"',
    ),
    "kubectl * logs --selector app=buildkit-gateway --tail -1 | grep '^{'": (
        "tests/lab/gateway_log.py",
        '"--selector=app=buildkit-gateway", "--tail=-1"',
    ),
    "kubectl * logs --follow *": ("tests/lab/test_rollouts.py", '"logs", "--follow", pod'),
    "kubectl * get pods --watch": ("tests/lab/watch.py", '"--watch"'),
    "kubectl * get events --field-selector reason=FailedPreStopHook": (
        "tests/lab/test_pages.py",
        '"FailedPreStopHook"',
    ),
    "kubectl * exec POD -- sh -c 'kill 1; *": ("tests/lab/test_pages.py", '"kill 1"'),
    "kubectl * apply --filename role.yaml": ("tests/lab/test_pages.py", '"create rolebinding"'),
    "kubectl * create rolebinding *": ("tests/lab/test_pages.py", '"create rolebinding"'),
    "kubectl * get scaledobject,hpa,pods": (
        "tests/lab/test_autoscaling.py",
        '"get scaledobject"',
    ),
    "kubectl * get events --field-selector reason=KEDA*": (
        "tests/lab/test_autoscaling.py",
        '"get scaledobject"',
    ),
    'kubectl * get --raw *:8082/proxy/builds"': (
        "tests/lab/test_autoscaling.py",
        '"get scaledobject"',
    ),
    "kubectl * describe scaledobject *": (
        "tests/lab/test_autoscaling.py",
        '"describe scaledobject"',
    ),
    "kubectl --namespace keda logs *": (
        "tests/lab/test_autoscaling.py",
        '"describe scaledobject"',
    ),
    "kubectl --namespace ci get secret *": ("tests/lab/test_ci_clients.py", '"get secret"'),
    "kubectl create namespace *": ("tests/lab/test_engine.py", '"create", "namespace"'),
    "kubectl * create secret generic tokens *": (
        "tests/lab/test_jobs.py",
        '"create", "secret", "generic", "tokens", f"--from-literal=npm=',
    ),
    "kubectl * create secret docker-registry *": ("tests/lab/test_jobs.py", '"docker-registry"'),
    "kubectl * create secret generic builds-tls *": (
        "tests/lab/test_own_certificates.py",
        '"create", "secret", "generic", name, f"--type=',
    ),
    'kubectl * patch scaledobject * --patch \'{"metadata":{"finalizers":null}}\'': (
        "lab/keda.py",
        '--patch={"metadata":{"finalizers":null}}',
    ),
}
"""What runs a command, by the command: a file of the tests or of the lab, and the words there."""

COMMANDS = [*commands()]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.place)
def test_a_command_is_run_by_a_test_or_said_not_to_be(command: Command) -> None:
    is_known = any(fnmatchcase(command.text, pattern) for pattern in RUN)
    assert is_known or command.is_said_not_to_be_run, (
        f"{command.place}: name the test that runs it in {Path(__file__).name}, or say on the page "
        f"why none does, by a comment `# Not run here: …`: {command.text}"
    )


@pytest.mark.parametrize("pattern", RUN)
def test_what_runs_a_command_is_there(pattern: str) -> None:
    file, words = RUN[pattern]
    assert words in (REPO / file).read_text()
    assert any(fnmatchcase(command.text, pattern) for command in COMMANDS)


def test_what_is_shown_as_sh_is_taken_from_its_page_and_run() -> None:
    tests = "".join(file.read_text() for file in (REPO / "tests" / "lab").glob("*.py"))
    pages = {Path(block.place.partition(":")[0]).name for block in blocks("sh")}
    assert not [page for page in pages if f'"{page}"' not in tests]
