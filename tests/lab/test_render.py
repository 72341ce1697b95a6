"""A stack that is rendered, applied by kubectl, and built with; Pulumi has no part in it."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import LabError, lifecycle
from lab.engine import merge
from lab.network import ADDRESS
from lab.paths import REPO
from tests.lab.conftest import Installation, assert_builds, install, make

STACK = NAMESPACE = "rendered"
OVER = "rendered-over"
PATIENCE = "--timeout=60s"
APPS = ("buildkitd", "buildkit-gateway")


@dataclass(frozen=True)
class Checkout:
    """This checkout, with stacks of its own."""

    lab: lifecycle.Lab
    directory: Path

    @property
    def manifests(self) -> Path:
        return self.directory / "manifests"

    def configure(self, stack: str = STACK, **keys: Any) -> None:
        """Write a stack's file: the dev stack's for this lab, with other *keys*."""
        dev = yaml.safe_load((REPO / "Pulumi.dev.yaml").read_text())
        mine = {
            "buildkit:namespace": NAMESPACE,
            "buildkit:gateway": {"nodePort": self.lab.node_port + 20, "replicas": 1},
            **{f"buildkit:{key}": value for key, value in keys.items()},
        }
        config = merge(merge(dev["config"], self.lab.overrides), mine)
        file = self.directory / f"Pulumi.{stack}.yaml"
        file.write_text(yaml.safe_dump({**dev, "config": config}))

    def render(
        self, *options: str, stack: str = STACK, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `make render`."""
        given = ("render", f"STACK={stack}", "DIR=manifests", *options)
        return make(*given, directory=self.directory, **environment)

    def kubectl(self, verb: str, *arguments: str) -> str:
        return self.lab.node.kubectl("--namespace", NAMESPACE, verb, *arguments)

    def apply(self, *directories: Path) -> None:
        each = (f"--filename={directory}" for directory in directories)
        self.kubectl("apply", "--server-side", *each)

    def wait_until_ready(self) -> None:
        for app in APPS:
            self.kubectl("rollout", "status", f"deployment/{app}", PATIENCE)

    def client(self) -> Installation:
        """Whoever has the files of the client `dev`."""
        endpoint = f"{ADDRESS}:{self.lab.node_port + 20}"
        certificates = self.directory / "certs"
        certificates.unlink(missing_ok=True)
        certificates.symlink_to(self.manifests / "secrets" / "clients" / "dev")
        outputs = {"namespace": NAMESPACE, "endpoint": endpoint}
        return Installation(self.lab, outputs, self.directory)


@pytest.fixture(scope="module")
def checkout(lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    directory = tmp_path_factory.mktemp("rendered")
    for entry in REPO.iterdir():
        if not (entry.name.startswith(("Pulumi.", ".git")) and entry.name != "Pulumi.yaml"):
            (directory / entry.name).symlink_to(entry)
    made = Checkout(lab, directory)
    made.configure()
    yield made
    with suppress(LabError):
        lab.node.kubectl("delete", "namespace", NAMESPACE)


def waiting(checkout: Checkout, app: str) -> set[str]:
    """What the pods of an *app* say that they wait for."""
    reason = "{.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError"
    selector = f"--selector=app={app}"
    there = "{.status.unavailableReplicas}"
    checkout.kubectl("wait", f"--for=jsonpath={there}", f"deployment/{app}", PATIENCE)
    checkout.kubectl("wait", f"--for=jsonpath={reason}", "pods", selector, PATIENCE)
    pods = json.loads(checkout.kubectl("get", "pods", selector, "--output=json"))["items"]
    return {pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"] for pod in pods}


def deployments_go(client: Installation) -> None:
    """With their pods: a namespace looks again for these only after half of their grace period."""
    client.kubectl("delete", "deployments", "--all", "--cascade=foreground")


def test_what_is_rendered_waits_for_its_secrets_builds_with_them_and_rolls(
    checkout: Checkout,
) -> None:
    said = checkout.render()
    assert said.returncode == 0, said.stderr
    assert "SECRETS=1 writes manifests/secrets" in said.stdout
    checkout.apply(checkout.manifests)
    for app, secret in (
        ("buildkitd", "buildkitd-daemon-certs"),
        ("buildkit-gateway", "buildkit-envoy-certs"),
    ):
        assert secret in said.stdout
        assert waiting(checkout, app) == {f'secret "{secret}" not found'}

    said = checkout.render("SECRETS=1")
    assert said.returncode == 0, said.stderr
    assert "New certificates: buildkit-ca, buildkit-dev, " in said.stdout
    assert f"Clients dial {checkout.client().outputs['endpoint']}." in said.stdout
    checkout.apply(checkout.manifests, checkout.manifests / "secrets")
    checkout.wait_until_ready()
    assert_builds(checkout.client(), "rendered")

    pods = checkout.client().pods("buildkitd")
    checkout.configure(maxParallelism=2)
    said = checkout.render("SECRETS=1")
    assert "New certificates: none." in said.stdout
    checkout.apply(checkout.manifests, checkout.manifests / "secrets")
    checkout.wait_until_ready()
    assert not {*pods} & {*checkout.client().pods("buildkitd")}
    assert_builds(checkout.client(), "rendered-again")

    deployments_go(checkout.client())
    checkout.kubectl(
        *("delete", f"--filename={checkout.manifests}"),
        *(f"--filename={checkout.manifests / 'secrets'}", "--ignore-not-found"),
    )
    with pytest.raises(LabError, match="not found"):
        checkout.kubectl("get", f"namespace/{NAMESPACE}")


@pytest.fixture
def installed(lab: lifecycle.Lab, tmp_path: Path) -> Iterator[Installation]:
    """A stack that Pulumi runs, and its client."""
    gateway = {"nodePort": lab.node_port + 30, "replicas": 1}
    stack = lab.stack(OVER, merge(lab.overrides, {"buildkit:gateway": gateway}))
    stack.up()
    client = install(lab, stack.outputs(), tmp_path)
    yield client
    deployments_go(client)
    lab.node.kubectl("delete", "namespace", client.outputs["namespace"])


def test_a_stack_that_pulumi_ran_goes_on_under_its_manifests(
    checkout: Checkout, installed: Installation
) -> None:
    before = {pod for app in APPS for pod in installed.pods(app)}
    gateway = {"nodePort": checkout.lab.node_port + 30, "replicas": 1}
    checkout.configure(OVER, namespace=installed.outputs["namespace"], gateway=gateway)
    assert checkout.render("DIR=over", stack=OVER).returncode == 0
    over = f"--filename={checkout.directory / 'over'}"
    checkout.lab.node.kubectl("apply", "--server-side", "--force-conflicts", over)
    for app in APPS:
        installed.kubectl("rollout", "status", f"deployment/{app}", PATIENCE)
    assert not before.intersection(pod for app in APPS for pod in installed.pods(app))

    pulumi = checkout.lab.stack(OVER).cli
    pulumi("stack", "rm", "--force", "--yes", "--preserve-config")
    assert_builds(installed, "rendered-over")


def test_kustomize_makes_the_same_of_the_directory(checkout: Checkout) -> None:
    assert checkout.render("DIR=plain").returncode == 0
    directory = checkout.directory / "plain"
    made = yaml.safe_load_all(checkout.kubectl("kustomize", str(directory)))
    files = [yaml.safe_load(file.read_text()) for file in directory.glob("*.yaml")]
    assert sorted(map(json.dumps, made)) == sorted(map(json.dumps, files))


def test_what_is_encrypted_is_read_by_pulumi_s_own_cli(checkout: Checkout) -> None:
    environment = {**os.environ, **checkout.lab.engine.environment}
    environment["PULUMI_BACKEND_URL"] = f"file://{checkout.directory}"

    def pulumi(*arguments: str) -> None:
        subprocess.run(
            ["pulumi", *arguments, "--stack=encrypted"],
            cwd=checkout.directory,
            env=environment,
            check=True,
            capture_output=True,
        )

    pulumi("stack", "init")
    checkout.configure("encrypted")
    key = "buildkit:pod.spec.containers[0]"
    pulumi("config", "set", "--path", f"{key}.name", "buildkitd")
    pulumi("config", "set", "--path", f"{key}.env[0].name", "TOKEN")
    pulumi("config", "set", "--path", "--secret", f"{key}.env[0].value", "hush-hush")

    read = checkout.render("DIR=read", "SECRETS=1", stack="encrypted", **environment)
    assert read.returncode == 0, read.stderr
    private = checkout.directory / "read" / "secrets" / "50-deployment-buildkitd.yaml"
    assert "value: hush-hush" in private.read_text()
    assert not (checkout.directory / "read" / private.name).exists()

    del environment["PULUMI_CONFIG_PASSPHRASE_FILE"]
    refused = checkout.render("DIR=unread", stack="encrypted", **environment)
    assert refused.returncode != 0
    (line, _) = refused.stderr.splitlines()
    assert line.startswith("render: buildkit:pod: is encrypted, and Pulumi does not read it (")


def test_the_directory_of_make_client_certs_is_not_the_one_of_make_render() -> None:
    refused = make("render", "STACK=dev")
    assert "render: DIR is missing; " in refused.stderr
