"""The kinds of objects that the Prometheus operator reads, without an operator."""

from lab.node import Node
from tests.golden.schema import definition

KINDS = ("PodMonitor", "PrometheusRule")


def define(node: Node) -> None:
    """Have the API server know them, as where the operator is installed."""
    for kind in KINDS:
        file = f"--filename={definition(kind)}"
        node.kubectl("apply", "--server-side", file)
        node.kubectl("wait", "--for=condition=Established", "--timeout=60s", file)


def remove(node: Node) -> None:
    """Have it know them no longer; what there is of them goes, too."""
    for kind in KINDS:
        node.kubectl("delete", "--ignore-not-found", f"--filename={definition(kind)}")
