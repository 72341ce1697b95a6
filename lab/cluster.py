"""What the lab adds to the bare cluster: DNS, the storage class `lab` and a registry."""

import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

from lab import LabError, progress
from lab.network import DNS, REGISTRY
from lab.node import Node, http_ok, until

MANIFESTS = Path(__file__).parent / "manifests"
DEPLOYMENTS = {  # by their namespaces
    "kube-system": "coredns",
    "local-path-storage": "local-path-provisioner",
    "registry": "registry",
}
TIMEOUT = 90  # seconds; a few are usual when the images are on the node
APPLY = ("apply", "--server-side", "--force-conflicts", "--field-manager=lab")


def install(node: Node) -> None:
    """Apply the manifests and wait until all that they describe is ready."""
    with progress.step("DNS, storage and registry") as step:
        node.kubectl(*APPLY, f"--filename={MANIFESTS}")
        for namespace, name in DEPLOYMENTS.items():
            step.update(name)
            wait_for_rollout(node, namespace, name)
        # After a restart of the node the API repeats what was true before, so ask themselves.
        for name, answers in (("DNS", _dns_answers), ("registry", _registry_answers)):
            step.update(f"{name} answers")
            until(partial(answers, node), TIMEOUT, partial(_silent, name))


def wait_for_rollout(node: Node, namespace: str, name: str) -> None:
    """Wait until a Deployment's pods are ready; the error is what its containers wait for."""
    selected = (f"--namespace={namespace}", f"deployment/{name}")
    try:
        node.kubectl("rollout", "status", *selected, f"--timeout={TIMEOUT}s")
    except LabError as error:
        waiting = "-o=jsonpath={.items[*].status.containerStatuses[*].state.waiting}"
        why = node.kubectl("get", "pods", f"--namespace={namespace}", waiting)
        raise LabError(f"{name} in {namespace} is not ready: {why or error}") from error


def _silent(name: str) -> LabError:
    return LabError(f"the {name} does not answer within {TIMEOUT} s, though its pod is ready")


def _dns_answers(node: Node) -> bool:
    """Whether the service address leads to a server; the service range exists inside only."""
    connect = node.inside("bash", "-c", f"exec 3<>/dev/tcp/{DNS}/53")
    with suppress(subprocess.TimeoutExpired):
        return not subprocess.run(connect, capture_output=True, timeout=2, check=False).returncode
    return False


def _registry_answers(_: Node) -> bool:
    with suppress(OSError):
        return http_ok(f"http://{REGISTRY}/v2/")
    return False
