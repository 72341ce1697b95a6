"""KEDA on the lab's node: the real operator and metrics adapter, only where they are asked for."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lab import LabError, build, cluster, files, image_store, progress
from lab.node import Node, until
from settings import PROJECT, Settings

MODULE = "github.com/kedacore/keda/v2"
MANIFEST = cluster.MANIFESTS / "optional" / "keda.yaml"
DEPLOYMENTS = ("keda-operator", "keda-metrics-apiserver")
API_SERVICE = "v1beta1.external.metrics.k8s.io"
ANSWERS = (
    "/api/v1/namespaces/keda/services/keda-operator:health/proxy/readyz",
    "/apis/external.metrics.k8s.io/v1beta1",
)
"""What the API server passes on to the operator and to the adapter."""

TIMEOUT = 60  # seconds; 10 are usual, in which the operator starts twice
FINALIZING = 10  # seconds for the operator to let go of what it scales; one is usual


def is_wanted(config: Mapping[str, Any]) -> bool:
    """Whether a stack of this configuration has something that KEDA scales."""
    scale = {key: config.get(f"{PROJECT}:{key}") for key in ("autoscaling", "farm")}
    try:
        return Settings.model_validate(scale).follows_builds
    except ValidationError:
        # The program says what is wrong, before there is anything to scale.
        return False


def install(node: Node) -> None:
    """Have KEDA run on a node; the one that does already is only asked whether it answers."""
    tools = build.tools(build.KEDA)
    node = Node(tools, image_store.images(tools, image_store.KEDA), node.at.state)
    with progress.step("KEDA", 12) as step, build.locked(_record(node).with_suffix(".lock"), step):
        if _installed(node) == _stamp(node) and _answers(node):
            return
        step.update("images")
        node.import_images()
        step.update("custom resources")
        node.kubectl(*cluster.APPLY, f"--kustomize={_definitions()}")
        node.kubectl(*cluster.APPLY, f"--filename={MANIFEST}")
        for name in DEPLOYMENTS:
            step.update(name)
            cluster.wait_for_rollout(node, "keda", name)
        step.update(API_SERVICE)
        available = ("--for=condition=Available", f"apiservice/{API_SERVICE}")
        node.kubectl("wait", *available, f"--timeout={TIMEOUT}s")
        until(partial(_answers, node), TIMEOUT, _silent)
        files.write(_record(node), _stamp(node))


def remove(node: Node) -> None:
    """Take KEDA and all that it scales by away, whatever is left of it; the images stay."""
    with progress.step("removing KEDA", 10):
        _record(node).unlink(missing_ok=True)
        for resource in _resources(node):
            _delete_all(node, resource)
        # While an API that nobody answers for is registered, no namespace can be deleted.
        node.kubectl("delete", "--ignore-not-found", f"apiservice/{API_SERVICE}")
        node.kubectl("delete", "--ignore-not-found", f"--filename={MANIFEST}")
        for resource in _resources(node):
            node.kubectl("delete", f"crd/{resource}")


def _definitions() -> Path:
    return build.module_dir("keda", MODULE) / "config" / "crd"


def _resources(node: Node) -> list[str]:
    """The kinds of KEDA's objects that the API knows, as `scaledobjects.keda.sh`."""
    crds = node.kubectl("get", "crds", "--output=name").split()
    return [crd.partition("/")[2] for crd in crds if crd.endswith("keda.sh")]


def _delete_all(node: Node, resource: str) -> None:
    """Delete all objects of a kind; where no operator finalizes them, without it."""
    every = (resource, "--all-namespaces")
    with suppress(LabError):
        node.kubectl("delete", *every, "--all", f"--timeout={FINALIZING}s")
    names = "{range .items[*]}{.metadata.name} {.metadata.namespace}{'\\n'}{end}"
    for left in node.kubectl("get", *every, f"--output=jsonpath={names}").splitlines():
        name, _, namespace = left.partition(" ")
        unfinalized = '--patch={"metadata":{"finalizers":null}}'
        node.kubectl(
            *("patch", resource, name, f"--namespace={namespace}", "--type=merge", unfinalized)
        )


def _answers(node: Node) -> bool:
    """Whether both do; the API's own word for it may be from before a restart of the node."""
    with suppress(LabError):
        return all(node.kubectl("get", f"--raw={path}") for path in ANSWERS)
    return False


def _silent() -> LabError:
    return LabError(f"KEDA does not answer within {TIMEOUT} s, though its pods are ready")


def _stamp(node: Node) -> str:
    """What an installation is made from."""
    archives = sorted(str(path) for path in node.images.values())
    return build.digest(MANIFEST.read_text(), *archives)


def _installed(node: Node) -> str:
    with suppress(FileNotFoundError):
        return _record(node).read_text()
    return ""


def _record(node: Node) -> Path:
    return node.at.state / "keda"
