"""What is said before anything is made: by a preview, `make preflight`, a Job on the nodes."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pulumi_buildkit import Security

from lab import lifecycle
from lab.engine import StackError
from preflight.pods import pod
from tests.lab.conftest import Configured, Installation, make, refusal, stack_of
from tests.lab.test_engine import namespace_of

SYSCTL = "user.max_user_namespaces"
MAXIMUM = Path("/proc/sys/user/max_user_namespaces")


def node_of(lab: lifecycle.Lab) -> str:
    return lab.node.kubectl("get", "nodes", "--output=jsonpath={.items[0].metadata.name}")


@pytest.fixture
def restricted(lab: lifecycle.Lab) -> Iterator[str]:
    """A namespace of somebody else's, with a Secret that is not finished."""
    with namespace_of(lab, f"{lab.name}-restricted") as name:
        label = "pod-security.kubernetes.io/enforce=restricted"
        lab.node.kubectl("label", f"namespace/{name}", label)
        create = ("create", "secret", "generic", "own", "--from-literal=ca.crt=a")
        lab.node.kubectl("--namespace", name, *create)
        yield name


def test_a_preview_refuses_all_that_the_cluster_can_t_bear_at_once(
    installation: Installation, restricted: str
) -> None:
    named = {"name": "own", "key": "password"}
    variable = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": named}}
    balanced = {"service": "LoadBalancer", "loadBalancerClass": "service.k8s.aws/nlb"}
    said = refusal(
        installation,
        {
            "buildkit:namespace": restricted,
            "buildkit:createNamespace": False,
            "buildkit:certificates": {"existingSecret": "own"},
            "buildkit:gateway": {**balanced, "nodePort": None},
            "buildkit:pod": {"spec": {"containers": [{"name": "buildkitd", "env": [variable]}]}},
            "buildkit:resources": {"requests": {"cpu": "1000"}},
            "buildkit:volume": {"kind": "claim", "storageClass": "nowhere"},
        },
    )
    # Pulumi shows them where they come up, and once more at the end.
    told = set(re.findall(r"^\s+buildkit:([\w.]+)[\[\w\].]*: ", said, re.MULTILINE))
    assert told == {
        *("certificates.existingSecret", "gateway.loadBalancerClass", "namespace"),
        *("pod.spec.containers", "resources.requests.cpu", "volume.storageClass"),
    }
    cpus, *_ = re.findall(r"'1000': is more than any node has .*; (\S+) has the most, (\d+);", said)
    node = node_of(installation.lab)
    allocatable = "--output=jsonpath={.status.allocatable.cpu}"
    assert cpus == (node, installation.lab.node.kubectl("get", f"node/{node}", allocatable))
    for reason in (
        "enforce=restricted, which forbids",
        "'password': is no key of the Secret own; its keys are ca.crt",
        "tls.crt: is missing; the Secret has ca.crt",
        "does not have its API (elbv2.k8s.aws)",
    ):
        assert reason in said


def test_make_preflight_says_what_is_true_of_the_node(lab: lifecycle.Lab) -> None:
    result = make("preflight", KUBECONFIG=str(lab.node.kubeconfig))
    assert result.returncode == 0, result.stderr
    # That builds of all variants run there, test_modes.py shows.
    table, node, verdict = result.stdout.split("\n\n")
    heading, row = (line.split() for line in table.splitlines())
    said = dict(zip(heading, row, strict=True))
    variants = {security.value.upper() for security in Security}
    assert {said[variant] for variant in variants} == {"yes"}
    assert said["BEST"] == "rootless"
    assert verdict == "Best for these nodes: buildkit:security: rootless\n"

    facts = " ".join(node.split())
    kernel = os.uname().release
    assert f"Linux {kernel}," in facts
    is_v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    assert f"cgroup v{2 if is_v2 else 1};" in facts
    for name in (SYSCTL, "kernel.unprivileged_userns_clone"):
        file = Path("/proc/sys") / name.replace(".", "/")
        assert (f"{name} = " in facts) is file.exists()
        assert not file.exists() or f"{name} = {file.read_text().strip()};" in facts
    assert ("no /dev/fuse" not in facts) is Path("/dev/fuse").exists()
    assert "user namespaces under seccomp RuntimeDefault: forbidden" in facts

    (namespace,) = re.findall(r"in the namespace (\S+)", result.stderr)
    lab.node.kubectl("wait", "--for=delete", f"namespace/{namespace}", "--timeout=60s")


def test_make_preflight_says_why_a_variant_can_t_run(lab: lifecycle.Lab) -> None:
    image = "example.com/no/such:image"
    result = make("preflight", f"IMAGE={image}", KUBECONFIG=str(lab.node.kubeconfig))
    assert result.returncode != 0
    assert "BuildKit runs on none of these nodes" in result.stdout
    said = " ".join(result.stdout.split())
    for variant, named in (("rootless", f"{image}-rootless"), ("userns", image)):
        assert re.search(rf"{variant}: no: \w+: .*{re.escape(named)}", said)


FORBID = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'


def test_a_node_without_user_namespaces_is_told_what_it_lacks(lab: lifecycle.Lab) -> None:
    before = MAXIMUM.read_text()
    tried = pod("preflight", Security.ROOTLESS, node_of(lab), None)
    container = tried["spec"]["containers"][0]
    # A user namespace has a limit of its own for those below it: the node keeps its own.
    nested = ("unshare", "-U", "--map-user=1000", "--map-group=1000", "--keep-caps")
    container["command"] = [*nested, "sh", "-c", FORBID, "sh", *container["command"]]
    container["securityContext"] = {"privileged": True, "runAsUser": 0}
    container["env"] = [{"name": "TMPDIR", "value": "/tmp"}]
    del tried["spec"]["containers"][1:]
    with namespace_of(lab, f"{lab.name}-forbidden") as namespace:
        in_it = ("--namespace", namespace)
        lab.node.kubectl(*in_it, "apply", "--filename=-", stdin=json.dumps(tried))
        lab.node.kubectl(
            *(*in_it, "wait", "--for=jsonpath={.status.phase}=Failed", "pod/preflight"),
            "--timeout=60s",
        )
        message = "{.status.containerStatuses[0].state.terminated.message}"
        said = lab.node.kubectl(*in_it, "get", "pod/preflight", f"--output=jsonpath={message}")
    assert said.splitlines()[-1] == (
        f"rootless can't run here: {SYSCTL} is 0, so that nobody gets a user namespace; set it on "
        "the node, or have buildkit:userNamespaces do it"
    )
    assert MAXIMUM.read_text() == before


def test_a_node_that_can_t_run_it_stops_an_update_before_anything_else_is_made(
    configured: Configured, installation: Installation
) -> None:
    def generation() -> str:
        spec = "--output=jsonpath={.metadata.generation}"
        return installation.kubectl("get", "deployment/buildkitd", spec)

    before = generation()
    context = {"seccompProfile": {"type": "RuntimeDefault"}}
    confined = {"spec": {"containers": [{"name": "buildkitd", "securityContext": context}]}}
    with pytest.raises(StackError) as failure:
        configured({"buildkit:preflight": "nodes", "buildkit:pod": confined})
    assert "rootless can't run here: the pod has a seccomp filter" in failure.value.output
    assert generation() == before


def test_a_node_that_can_run_it_is_tried_once(configured: Configured) -> None:
    keys = {"buildkit:preflight": "nodes"}
    installation = configured(keys)
    jobs = (
        "get",
        "jobs",
        "--selector=app=preflight",
        "--output=jsonpath={.items[*].status.succeeded}",
    )
    assert installation.kubectl(*jobs) == "1"
    log = installation.kubectl("logs", "--selector=app=preflight-probe", "--tail=-1")
    assert log.endswith("rootless runs here\n")
    stack_of(installation, keys).preview("--expect-no-changes")
