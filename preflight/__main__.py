"""What `make preflight` does."""

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from pulumi_buildkit import Security
from urllib3.exceptions import HTTPError

from preflight import PreflightError, report
from preflight.pods import pod
from preflight.report import ORDER, Kind
from preflight.trial import Outcome, Trial
from settings import placement
from settings.cluster import Cluster, NoAnswerError, configuration

PATIENCE = 300
"""Seconds for all pods together: images may have to be pulled, on each kind of node."""

_ANYWHERE = {"tolerations": [{"operator": "Exists"}]}


def preflight(image: str | None, patience: float) -> list[Kind]:
    """Try every variant on a node of each kind.

    Raises:
        PreflightError: that is not possible.
    """
    with Cluster() as cluster:
        nodes = placement.kinds(placement.candidates(cluster.nodes, _ANYWHERE))
    if not nodes:
        raise PreflightError("the cluster has no node that is ready; start one")
    pods = {
        _name(security, kind): pod(_name(security, kind), security, of[0].metadata.name, image)
        for kind, of in nodes.items()
        for security in ORDER
    }
    with client.ApiClient(configuration()) as api:
        trial = Trial(api, patience)
        with trial.namespace() as namespace:
            print(f"… {len(pods)} pods build in the namespace {namespace}", file=sys.stderr)
            outcomes = trial.run(pods)
    return [_kind(kind, of, outcomes) for kind, of in nodes.items()]


def _name(security: Security, kind: str) -> str:
    return f"{security.value}-{kind}"


def _kind(name: str, nodes: Sequence[Any], outcomes: Mapping[str, Outcome]) -> Kind:
    info = nodes[0].status.node_info
    system = ", ".join(
        (
            info.architecture,
            f"Linux {info.kernel_version}",
            info.os_image,
            info.container_runtime_version,
            f"kubelet {info.kubelet_version}",
        )
    )
    return Kind(
        [node.metadata.name for node in nodes],
        system,
        {security: outcomes[_name(security, name)] for security in ORDER},
    )


def main() -> None:
    """Print the report; end with 1 where no variant runs on all nodes."""
    parser = argparse.ArgumentParser(prog="python -m preflight")
    parser.add_argument("--image")
    parser.add_argument("--timeout", type=float, default=PATIENCE)
    given = parser.parse_args()
    # The namespace goes then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        kinds = preflight(given.image, given.timeout)
    except PreflightError as error:
        sys.exit(f"preflight: {error}")
    except (NoAnswerError, ConfigException, ApiException, HTTPError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        sys.exit(
            f"preflight: the cluster does not answer ({reason}); name one that does: "
            "make preflight KUBECONFIG=~/.kube/config"
        )
    print(report.text(kinds), end="")
    sys.exit(report.best(kinds) is None)


if __name__ == "__main__":
    main()
