"""A cluster with rules of its own: tainted nodes, a private registry, user IDs of a range.

It is as docs/pods.md says.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import yaml
from pulumi_buildkit import ENVOY_IMAGE, Security
from pulumi_buildkit.security import VARIANTS

from lab import LabError, lifecycle
from lab.network import NAME
from lab.node import until
from tests.lab.conftest import Configured, Installation, assert_builds, stack_of
from tests.lab.test_jobs import PASSWORD, PRIVATE, private_registry_of
from tests.pages import block

# The taint keeps every other pod away that comes meanwhile.
pytestmark = pytest.mark.alone
TAINT = "example.com/builds=:NoSchedule"
POOL = "example.com/pool=builds"
UID = 1_000_650_000  # the first of a namespace's, as OpenShift numbers them
IN_RANGE = f"object.spec.securityContext.runAsUser in [{UID}]"
IMAGES = {VARIANTS[Security.ROOTLESS].image: "buildkit", ENVOY_IMAGE: "envoy"}


@pytest.fixture
def mirror(installation: Installation, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A private registry that has the images, and whose password is a Secret beside the stack."""
    lab = installation.lab
    hosts = lab.node.at.config / "registries" / PRIVATE
    hosts.mkdir()
    (hosts / "hosts.toml").write_text(tomli_w.dumps({"server": f"http://{PRIVATE}"}))
    names = {image: f"{PRIVATE}/mirror/{name}:latest" for image, name in IMAGES.items()}
    with ExitStack() as ends, private_registry_of(lab, tmp_path):
        ends.callback(hosts.rmdir)
        ends.callback((hosts / "hosts.toml").unlink)
        for image, name in names.items():
            account = ("--plain-http", f"--user=builder:{PASSWORD}")
            lab.node.ctr("images", "push", *account, name, image)
        account = ("--docker-username=builder", f"--docker-password={PASSWORD}")
        secret = ("docker-registry", "registry", f"--docker-server={PRIVATE}")
        installation.kubectl("create", "secret", *secret, *account)
        ends.callback(installation.kubectl, "delete", "secret", "registry")
        yield names


@pytest.fixture
def tainted(lab: lifecycle.Lab) -> Iterator[None]:
    node = ("node", NAME)
    with ExitStack() as ends:
        lab.node.kubectl("taint", *node, TAINT)
        ends.callback(lab.node.kubectl, "taint", *node, f"{TAINT}-")
        lab.node.kubectl("label", *node, POOL)
        ends.callback(lab.node.kubectl, "label", *node, f"{POOL.partition('=')[0]}-")
        yield


def overlays(words: str) -> dict[str, Any]:
    """The configuration on the page that has these *words*."""
    return yaml.safe_load(block("yaml", "pods.md", words))["config"]


def test_a_tainted_pool_and_a_private_registry_are_reached_by_what_the_page_says(
    installation: Installation, configured: Configured, mirror: dict[str, str], tainted: None
) -> None:
    page = overlays("&placed")
    placed = {"spec": {**page["buildkit:pod"]["spec"], "priorityClassName": None}}
    buildkitd, envoy = mirror.values()
    keys = {
        "buildkit:image": buildkitd,
        "buildkit:pod": placed,
        "buildkit:gateway": {"image": envoy, "pod": placed},
    }
    without = {**keys, "buildkit:pod": {"spec": {**placed["spec"], "tolerations": []}}}
    said = stack_of(installation, without).preview()
    assert "buildkit:pod: no node takes these pods" in said
    assert "buildkit:gateway.pod: no node" not in said
    moved = configured(keys)
    assert_builds(moved, "placed")
    images = "--output=jsonpath={.spec.containers[*].image}"
    for app, image in (("buildkitd", buildkitd), ("buildkit-gateway", envoy)):
        assert {moved.kubectl("get", f"pod/{pod}", images) for pod in moved.pods(app)} == {image}


def object_of(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    version = "admissionregistration.k8s.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def numbered(installation: Installation) -> Iterator[None]:
    """What OpenShift's admission does: users are of a range, and are set where none is."""
    name = f"uids-{installation.lab.name}"
    of_namespace = {"kubernetes.io/metadata.name": installation.outputs["namespace"]}
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    which: dict[str, Any] = {
        "namespaceSelector": {"matchLabels": of_namespace},
        "objectSelector": {"matchLabels": {"app": "buildkit-gateway"}},
        "resourceRules": [{**pods, "resources": ["pods"]}],
    }
    user = f"Object.spec.securityContext{{runAsUser: {UID}, fsGroup: {UID}}}"
    sets = {
        "matchConstraints": which,
        "matchConditions": [
            {"name": "none", "expression": "!has(object.spec.securityContext.runAsUser)"}
        ],
        "reinvocationPolicy": "Never",
        "mutations": [
            {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {
                    "expression": f"Object{{spec: Object.spec{{securityContext: {user}}}}}"
                },
            }
        ],
    }
    refuses = {
        "matchConstraints": which,
        "validations": [{"expression": IN_RANGE, "message": "no user of the namespace's range"}],
    }
    items = [
        object_of("MutatingAdmissionPolicy", name, sets),
        object_of("MutatingAdmissionPolicyBinding", name, {"policyName": name}),
        object_of("ValidatingAdmissionPolicy", name, refuses),
        object_of(
            "ValidatingAdmissionPolicyBinding",
            name,
            {"policyName": name, "validationActions": ["Deny"]},
        ),
    ]
    made = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    kubectl = installation.lab.node.kubectl
    kubectl("create", "--filename=-", stdin=made)
    yield
    kubectl("delete", "--filename=-", stdin=made)


def is_refused(installation: Installation, pod: dict[str, Any]) -> bool:
    create = ("create", "--dry-run=server", "--filename=-")
    namespace = f"--namespace={installation.outputs['namespace']}"
    try:
        installation.lab.node.kubectl(*create, namespace, stdin=json.dumps(pod))
    except LabError as error:
        assert "no user of the namespace's range" in str(error)
        return True
    return False


def test_a_gateway_runs_as_whatever_user_the_cluster_gives_it(
    installation: Installation, configured: Configured, numbered: None
) -> None:
    template = installation.kubectl("get", "deployment/buildkit-gateway", "--output=json")
    spec = json.loads(template)["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **spec, "metadata": {**spec["metadata"], "name": "p"}}
    until(lambda: is_refused(installation, pod), 30, lambda: LabError("any user is let in"))
    moved = configured(
        {"buildkit:gateway": overlays("runAsUser: null, runAsGroup: null, fsG")["buildkit:gateway"]}
    )
    field = "--output=jsonpath={.spec.securityContext.runAsUser}"
    pods = moved.pods("buildkit-gateway")
    assert {moved.kubectl("get", f"pod/{name}", field) for name in pods} == {str(UID)}
    assert_builds(moved, "numbered")
