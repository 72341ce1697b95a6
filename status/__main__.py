"""What `make status` does."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Group

from status import StatusError, log, metrics, screen
from status.cluster import Cluster


def status(outputs: Mapping[str, Any], kubeconfig: str | None) -> None:
    """Show how a stack's BuildKit is, by the stack's *outputs*.

    Raises:
        StatusError: the cluster does not say.
    """
    with Cluster(kubeconfig, outputs["namespace"]) as cluster:
        screen.show(_screen(cluster, outputs))


def _screen(cluster: Cluster, outputs: Mapping[str, Any]) -> Group:
    pods = cluster.pods()
    gateways = [pod.name for pod in pods if pod.component == "gateway" and pod.state != "Pending"]
    asked = {pod: cluster.metrics(pod) for pod in gateways}
    numbers = [text for text in asked.values() if text is not None]
    said = [line for pod in gateways for line in log.lines(cluster.log(pod))]
    caches = [
        cache
        for pod in pods
        if pod.component == "buildkitd" and pod.state in ("ready", "drains")
        if (cache := cluster.cache(pod.name))
    ]
    given = {name: datetime.fromisoformat(end) for name, end in outputs["valid_until"].items()}
    ends = given or {name: end for text in numbers for name, end in metrics.ends(text).items()}
    return screen.screen(
        f"{outputs['namespace']}: {outputs.get('endpoint', 'nobody can dial it')}",
        pods,
        log.running(said),
        _counted(numbers, [pod for pod, text in asked.items() if text is None]),
        caches,
        ends,
        log.failures(said),
        datetime.now(UTC),
    )


def _counted(numbers: list[str], silent: list[str]) -> str:
    if not numbers:
        return "builds: no gateway tells of them"
    running, waiting = (sum(map(of, numbers)) for of in (metrics.running, metrics.waiting))
    held = f", and {waiting} requests wait for a buildkitd" if waiting else ""
    unknown = f"; {', '.join(silent)} does not answer" if silent else ""
    return f"builds: {running}{held}{unknown}"


def _outputs(stack: str) -> dict[str, Any]:
    """What Pulumi says of the *stack* of this directory; nothing that is secret."""
    command = ["pulumi", "stack", "output", "--json", "--stack", stack]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise StatusError("there is no pulumi on the PATH; install it") from None
    except subprocess.CalledProcessError as error:
        raise StatusError(f"pulumi says: {error.stderr.strip()}") from None
    outputs = json.loads(done.stdout)
    if "namespace" not in outputs:
        raise StatusError(f"the stack {stack} has no outputs yet; run pulumi up")
    return outputs


def main() -> None:
    """Show one stack; what a user can mend is said in one line."""
    parser = argparse.ArgumentParser(prog="python -m status")
    parser.add_argument("--stack", required=True)
    try:
        status(_outputs(parser.parse_args().stack), os.environ.get("KUBECONFIG"))
    except StatusError as error:
        sys.exit(f"status: {error}")


if __name__ == "__main__":
    main()
