"""What an API server that enforces the Pod Security Standards lets in, and that it runs."""

import dataclasses
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import yaml

from lab import LabError, lifecycle
from lab.lifecycle import REGISTRIES
from settings import Mode
from tests.golden.manifests import CASES, DIRECTORY, Case, applied
from tests.lab.conftest import Installation, greeting_of
from tests.lab.test_modes import port_forward
from tests.pages import block
from tests.pod_security import LABEL, LEVELS, STRICTEST, Level
from tests.recording import record_program


@pytest.fixture(scope="module")
def enforcing(lab: lifecycle.Lab) -> Iterator[dict[str, str]]:
    """A namespace for each level, which is enforced in it."""
    names = {level: f"{lab.name}-{level}" for level in LEVELS}
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {LABEL: of}}}
        for of, name in names.items()
    ]
    lab.node.kubectl("create", "--filename=-", stdin=in_a_list(items))
    yield names
    lab.node.kubectl("delete", "namespaces", *names.values())


def in_a_list(items: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def pods(case: Case) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pods that are made in a *case*: whose each is, as the page calls it, and its spec."""
    of = {"gateway": "the gateway", "user-namespaces": "`buildkit:userNamespaces`"}
    for made in yaml.load_all((DIRECTORY / f"{case}.yaml").read_text(), yaml.CSafeLoader):
        outer = made.get("spec", {})
        spec = outer if made["kind"] == "Pod" else outer.get("template", {}).get("spec")
        if spec:
            component = made["metadata"]["labels"]["app.kubernetes.io/name"]
            claims = [claim["metadata"]["name"] for claim in outer.get("volumeClaimTemplates", [])]
            # Volumes that a StatefulSet adds to its pods.
            added = [{"name": name, "emptyDir": {}} for name in claims]
            whole = {**spec, "volumes": [*spec.get("volumes", []), *added]}
            yield of.get(component, f"`{case.security.value}`"), whole


_REFUSAL = r'pods "asked-(\d+)" is forbidden: violates PodSecurity "\w+:latest": (.*\))'


def refusals(lab: lifecycle.Lab, namespace: str, specs: list[dict[str, Any]]) -> dict[int, str]:
    """What the API server has against some of the pods in a *namespace*, by their numbers."""
    items = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"asked-{number}"}, "spec": spec}
        for number, spec in enumerate(specs)
    ]
    create = ("--namespace", namespace, "create", "--dry-run=server", "--filename=-")
    try:
        lab.node.kubectl(*create, stdin=in_a_list(items))
    except LabError as error:
        said = str(error).partition(" failed: ")[2].split("Error from server (Forbidden): ")
        matches = [re.search(_REFUSAL, line) for line in said[1:]]
        if said[0] or not all(matches):
            raise
        return {int(match[1]): match[2] for match in matches if match}
    return {}


def without_names(refusal: str) -> str:
    """What is in brackets names the container."""
    return re.sub(r" \([^()]*\)", "", refusal).strip()


def test_each_pod_is_let_in_where_the_page_says(
    lab: lifecycle.Lab, enforcing: dict[str, str]
) -> None:
    # Many are alike: by what they are.
    asked = [*{json.dumps(pod): pod for case in CASES for pod in pods(case)}.values()]
    levels = [Level(LEVELS[0])] * len(asked)
    for level, stricter in pairwise(LEVELS):
        for number, refusal in refusals(lab, enforcing[level], [spec for _, spec in asked]).items():
            levels[number] = Level(stricter, without_names(refusal))
    assert not refusals(lab, enforcing[LEVELS[-1]], [spec for _, spec in asked])
    assert {(whose, level) for (whose, _), level in zip(asked, levels, strict=True)} == {
        *STRICTEST.items()
    }


def copied(installation: Installation, kind: str, name: str, namespace: str) -> None:
    """Make an object of the stack's in another namespace, too."""
    found = json.loads(installation.kubectl("get", f"{kind}/{name}", "--output=json"))
    found["metadata"] = {"name": name, "namespace": namespace}
    installation.lab.node.kubectl("create", "--filename=-", stdin=json.dumps(found))


def test_the_gateway_runs_where_restricted_is_enforced(
    installation: Installation, enforcing: dict[str, str]
) -> None:
    namespace = enforcing["restricted"]
    spec = json.loads(installation.kubectl("get", "deployment/buildkit-gateway", "--output=json"))[
        "spec"
    ]
    for volume in spec["template"]["spec"]["volumes"]:
        if "secret" in volume:
            copied(installation, "secret", volume["secret"]["secretName"], namespace)
        else:
            copied(installation, "configmap", volume["configMap"]["name"], namespace)
    copied(installation, "deployment", "buildkit-gateway", namespace)
    lets_in(installation, namespace)
    restricted = dataclasses.replace(
        installation, outputs={**installation.outputs, "namespace": namespace}
    )
    restricted.kubectl("rollout", "status", "deployment/buildkit-gateway", "--timeout=60s")
    with port_forward(restricted, "deployment/buildkit-gateway") as port:
        restricted.outputs["endpoint"] = f"127.0.0.1:{port}"
        assert restricted.build("restricted", "through a restricted gateway").returncode == 0
    # A namespace looks again for pods that are gone when half of their grace period is over.
    restricted.kubectl("delete", "deployment/buildkit-gateway", "--cascade=foreground")
    installation.kubectl("delete", "networkpolicy", namespace)


def lets_in(installation: Installation, namespace: str) -> None:
    """Have buildkitd reached from another *namespace*, too: policies add up."""
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": namespace, "namespace": installation.outputs["namespace"]},
        "spec": {
            "podSelector": {"matchLabels": {"app": "buildkitd"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [peer]}],
        },
    }
    installation.lab.node.kubectl("create", "--filename=-", stdin=json.dumps(policy))


def test_rootless_runs_where_baseline_is_enforced_if_the_node_confines_nothing(
    installation: Installation, enforcing: dict[str, str]
) -> None:
    namespace = enforcing["baseline"]
    unsaid = yaml.safe_load(block("yaml", "security.md", "seccompProfile: null"))
    recording = record_program(
        mode=Mode.POD.value,
        namespace=namespace,
        registries=REGISTRIES,
        pod=unsaid["config"]["buildkit:pod"],
        drain={"timeout": 0},
    )
    for made in applied(recording):
        if made["kind"] in ("ConfigMap", "Pod"):
            installation.lab.node.kubectl("create", "--filename=-", stdin=json.dumps(made))
    baseline = dataclasses.replace(
        installation, outputs={**installation.outputs, "namespace": namespace}
    )
    baseline.kubectl("wait", "pod/buildkitd", "--for=condition=Ready", "--timeout=60s")
    build = installation.build_command("baseline", "at baseline")
    address = ("buildctl", f"--addr=kube-pod://buildkitd?namespace={namespace}")
    assert baseline.run(*address, *build[build.index("build") :]).returncode == 0
    assert greeting_of("baseline") == "at baseline"
