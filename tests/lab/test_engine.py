"""Pulumi's behaviour as users see it; the same tests run with the official CLI and plugins."""

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pytest
from pulumi import automation

from lab import lifecycle
from lab.engine import StackError
from lab.paths import REPO
from tests.contract.cases import CASES, NAMESPACE
from tests.lab.conftest import Installation

# A stack beside the dev stack: reachable in the cluster only, so that no port is asked for twice.
BESIDE: dict[str, Any] = {"buildkit:gateway": {"replicas": 1}}


@contextmanager
def namespace_of(lab: lifecycle.Lab, name: str) -> Iterator[str]:
    lab.node.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        lab.node.kubectl("delete", "namespace", name)


def program_stack(
    lab: lifecycle.Lab, name: str, program: Callable[[], None], directory: Path
) -> automation.Stack:
    """A stack of a program that is a function: both Pulumis run it the same way."""
    variables = {**lab.engine.environment, "KUBECONFIG": str(lab.node.kubeconfig)}
    options = automation.LocalWorkspaceOptions(work_dir=str(directory), env_vars=variables)
    return automation.create_or_select_stack(
        name, project_name="test", program=program, opts=options
    )


def objects(lab: lifecycle.Lab, namespace: str) -> str:
    kinds = "deployments,services,pods,configmaps,secrets,poddisruptionbudgets"
    return lab.node.kubectl("get", kinds, "--namespace", namespace, "--output=name")


def test_a_refresh_finds_a_manual_edit_and_the_next_up_mends_it(
    installation: Installation,
) -> None:
    stack = installation.lab.stack()
    installation.kubectl("set", "image", "deployment/buildkit-gateway", "envoy=example.com/other")
    stack.refresh()
    with pytest.raises(StackError):
        stack.preview("--expect-no-changes")
    stack.up()
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    live = installation.kubectl("get", "deployment/buildkit-gateway", f"--output={image}")
    assert live == "docker.io/envoyproxy/envoy:v1.40.0"
    stack.preview("--expect-no-changes")


def test_two_stacks_stand_side_by_side_and_destroy_leaves_no_object(
    installation: Installation,
) -> None:
    lab = installation.lab
    stack = lab.stack("beside", BESIDE)
    stack.up()
    namespace = stack.outputs()["namespace"]
    assert namespace.startswith("buildkit-beside-")
    assert namespace != installation.outputs["namespace"]
    assert "deployment.apps/buildkit-gateway" in objects(lab, namespace)
    stack.destroy()
    namespaces = lab.node.kubectl("get", "namespaces", "--output=name")
    assert f"namespace/{namespace}" not in namespaces
    assert f"namespace/{installation.outputs['namespace']}" in namespaces
    assert installation.buildctl("debug", "workers").returncode == 0


KILLED_UP = """
from lab import lifecycle
from tests.lab.test_engine import BESIDE
lifecycle.running().stack("killed", BESIDE).up()
"""


def test_an_up_that_was_killed_goes_on_after_a_cancel(installation: Installation) -> None:
    lab = installation.lab
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_UP],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Deployment buildkitd creating" in line:
                break
        os.killpg(process.pid, signal.SIGKILL)
    stack = lab.stack("killed", BESIDE)
    stack.cancel()
    lab.stack("killed", BESIDE, PULUMI_K8S_UPSERT_EXISTING_OBJECTS="true").up()
    try:
        stack.preview("--expect-no-changes")
    finally:
        stack.destroy()


def test_an_existing_object_with_other_content_is_neither_taken_nor_changed(
    lab: lifecycle.Lab, tmp_path: Path
) -> None:
    # Provider 4.29 and later; the ones before apply, which conflicts with the field's owner.
    refused = "already exists|Server-Side Apply field conflict"

    def program() -> None:
        metadata = k8s.meta.v1.ObjectMetaArgs(name="existing", namespace="taken")
        k8s.core.v1.Secret("existing", metadata=metadata, string_data={"key": "new"})

    with namespace_of(lab, "taken"):
        created = ("--namespace=taken", "create", "secret", "generic", "existing")
        lab.node.kubectl(*created, "--from-literal=key=old")
        stack = program_stack(lab, "existing", program, tmp_path)
        with pytest.raises(automation.CommandError, match=refused):
            stack.up()
        assert secret_value(lab, "taken") == "old"
        stack.destroy(remove=True)
        assert secret_value(lab, "taken") == "old"


def test_an_existing_secret_is_imported_as_it_is(lab: lifecycle.Lab, tmp_path: Path) -> None:
    def program(adopt: bool) -> None:
        k8s.core.v1.Secret(
            "existing",
            metadata=k8s.meta.v1.ObjectMetaArgs(name="existing", namespace="imported"),
            type="Opaque",
            data={"key": base64.b64encode(b"old").decode()},
            opts=pulumi.ResourceOptions(import_="imported/existing" if adopt else None),
        )

    with namespace_of(lab, "imported"):
        created = ("--namespace=imported", "create", "secret", "generic", "existing")
        lab.node.kubectl(*created, "--from-literal=key=old")
        adopted = program_stack(lab, "imported", lambda: program(True), tmp_path).up()
        assert "imported" in adopted.stdout
        after = program_stack(lab, "imported", lambda: program(False), tmp_path)
        after.preview(expect_no_changes=True)
        after.destroy(remove=True)
        assert secret_value(lab, "imported") == ""


def secret_value(lab: lifecycle.Lab, namespace: str) -> str:
    """The key of the Secret `existing`; empty when there is none."""
    output = lab.node.kubectl(
        *("get", "secrets", "--namespace", namespace, "--field-selector=metadata.name=existing"),
        "--output=jsonpath={.items[*].data.key}",
    )
    return base64.b64decode(output).decode()


def test_a_second_provider_reaches_its_own_cluster(lab: lifecycle.Lab, tmp_path: Path) -> None:
    kubeconfig = lab.node.kubeconfig.read_text()

    def program() -> None:
        second = k8s.Provider("second", kubeconfig=kubeconfig, namespace="second")
        k8s.core.v1.ConfigMap(
            "settings", data={"key": "value"}, opts=pulumi.ResourceOptions(provider=second)
        )

    with namespace_of(lab, "second"):
        stack = program_stack(lab, "second", program, tmp_path)
        stack.up()
        stack.preview(expect_no_changes=True)
        assert "configmap/settings-" in objects(lab, "second")
        stack.destroy(remove=True)
        assert "configmap/settings-" not in objects(lab, "second")


def test_transforms_are_asked_about_all_that_a_component_makes(
    lab: lifecycle.Lab, tmp_path: Path
) -> None:
    asked: set[tuple[str, str]] = set()

    def note(args: pulumi.ResourceTransformArgs) -> None:
        asked.add((args.type_, args.name))

    def program() -> None:
        options = pulumi.ResourceOptions(transforms=[note])
        for kind in ("Certificates", "BuildkitStatefulSet", "Gateway-http2-ClusterIP"):
            CASES[next(case for case in CASES if case.startswith(kind))](options, kind.lower())

    with namespace_of(lab, NAMESPACE):
        stack = program_stack(lab, "transforms", program, tmp_path)
        planned: set[tuple[str, str]] = set()
        stack.preview(on_event=lambda event: planned.update(resources(event)))
        stack.workspace.remove_stack("transforms")
    assert planned == asked
    assert (
        "kubernetes:core/v1:PersistentVolumeClaim",
        "rootless-cache-buildkitstatefulset-0",
    ) in asked


def resources(event: automation.EngineEvent) -> Iterator[tuple[str, str]]:
    """The type and the name of what an event is about, except for the stack and providers."""
    if step := event.resource_pre_event:
        kind, name = step.metadata.urn.split("::")[2:]
        if not kind.startswith("pulumi:"):
            yield kind.rpartition("$")[2], name


def test_a_component_that_moves_below_another_parent_keeps_what_it_made(
    lab: lifecycle.Lab, tmp_path: Path
) -> None:
    def program(moved: bool) -> None:
        options = pulumi.ResourceOptions(
            parent=pulumi.ComponentResource("test:index:Team", "team"),
            aliases=[pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)],
        )
        make = CASES["Certificates-daemon"]
        make(options if moved else None)

    with namespace_of(lab, NAMESPACE):
        program_stack(lab, "moved", lambda: program(False), tmp_path).up()
        after = program_stack(lab, "moved", lambda: program(True), tmp_path)
        assert {*after.preview().change_summary} == {automation.OpType.SAME}
        after.destroy(remove=True)


def test_what_the_api_refuses_fails_the_preview(lab: lifecycle.Lab, tmp_path: Path) -> None:
    def stack(size: str) -> automation.Stack:
        spec = k8s.core.v1.PersistentVolumeClaimSpecArgs(
            access_modes=["ReadWriteOnce"],
            storage_class_name="lab",
            resources=k8s.core.v1.VolumeResourceRequirementsArgs(requests={"storage": size}),
        )
        metadata = k8s.meta.v1.ObjectMetaArgs(name="claim", namespace="refused")

        def program() -> None:
            k8s.core.v1.PersistentVolumeClaim("claim", metadata=metadata, spec=spec)

        return program_stack(lab, "refused", program, tmp_path)

    with namespace_of(lab, "refused"):
        stack("2Gi").up()
        with pytest.raises(automation.CommandError, match="Forbidden: spec is immutable"):
            stack("1Gi").preview()
        stack("2Gi").destroy(remove=True)


def test_a_job_that_fails_says_its_last_words(lab: lifecycle.Lab, tmp_path: Path) -> None:
    def program() -> None:
        last_words = "echo push refused > /dev/termination-log; exit 1"
        container = k8s.core.v1.ContainerArgs(
            name="push", image="docker.io/library/busybox:stable", command=["sh", "-c", last_words]
        )
        pod = k8s.core.v1.PodSpecArgs(containers=[container], restart_policy="Never")
        template = k8s.core.v1.PodTemplateSpecArgs(spec=pod)
        k8s.batch.v1.Job(
            "push",
            metadata=k8s.meta.v1.ObjectMetaArgs(namespace="failing"),
            spec=k8s.batch.v1.JobSpecArgs(backoff_limit=0, template=template),
        )

    with namespace_of(lab, "failing"):
        stack = program_stack(lab, "failing", program, tmp_path)
        with pytest.raises(automation.CommandError, match=r"\[Error\] push refused"):
            stack.up()
        stack.destroy(remove=True)


def test_a_secret_output_is_not_shown(installation: Installation) -> None:
    output = installation.lab.stack().cli("stack", "output", "--json")
    assert '"clients": "[secret]"' in output
    assert "PRIVATE KEY" not in output
