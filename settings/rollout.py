"""An update ends when the pods have rolled, whatever the Kubernetes provider waits for."""

import asyncio
import time

import pulumi

_KINDS = ("deployment", "statefulset")
_POLL = 1.0
"""Seconds."""


async def rolled(workload: str, namespace: str, timeout: int) -> str:
    """The same *workload*, as `statefulset/buildkitd`, when its old pods never start again.

    Pulumi deletes what it replaced, such as the ConfigMap of the old pods, when the program has
    ended. The provider before 4.26 may return before the first pod rolls
    (https://github.com/pulumi/pulumi-kubernetes/pull/4094).

    Raises:
        pulumi.RunError: it takes more than *timeout* seconds; then Pulumi deletes nothing.
    """
    kind, _, name = workload.partition("/")
    if kind not in _KINDS or pulumi.runtime.is_dry_run():
        return workload
    # Half a second, which no preview shall pay.
    from settings.cluster import Cluster, NoAnswerError

    with Cluster() as cluster:
        try:
            end = time.monotonic() + timeout
            while time.monotonic() < end:
                if cluster.has_rolled(kind, namespace, name):
                    return workload
                await asyncio.sleep(_POLL)
        except NoAnswerError:
            # What the provider waits for has to do.
            return workload
    raise pulumi.RunError(
        f"{workload} has not rolled after {timeout} s. What its old pods need is kept. "
        f"See `kubectl --namespace {namespace} get pods`, and run `pulumi up` again"
    )
