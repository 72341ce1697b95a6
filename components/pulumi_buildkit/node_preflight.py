"""Whether nodes can run BuildKit, tried before anything counts on them."""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _pod
from pulumi_buildkit._options import reaching_children
from pulumi_buildkit._rollout import TIMEOUT, awaited
from pulumi_buildkit.daemon import DaemonArgs
from pulumi_buildkit.metadata import labels, metadata

_ANY = "any"


class NodePreflightArgs(TypedDict):
    """Arguments of `NodePreflight`."""

    namespace: pulumi.Input[str]
    """Namespace of everything in it."""
    daemon: NotRequired[DaemonArgs]
    """The buildkitd that is to run there; its security variant, image, limits and overlay count.
    Default: rootless."""
    nodes: NotRequired[dict[str, str]]
    """One node of each kind, by a name of the kind in lower case. It is tried once, and again when
    what is tried has changed, or another node is given. Default: one that Kubernetes chooses."""
    update_timeout: NotRequired[int]
    """How long an update waits for each Job, in seconds. Default: 600."""


class NodePreflight(pulumi.ComponentResource):
    """A Job on one node of each kind, which starts a buildkitd there and has it build one step.

    If it fails, the update does, and what the node lacks is its error.
    """

    namespace: pulumi.Output[str]
    """The same namespace, for what is to be made when all have passed."""

    def __init__(
        self, name: str, args: NodePreflightArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Make the Jobs."""
        super().__init__("buildkit:index:NodePreflight", name, {}, reaching_children(opts))
        self._name = name
        self._args = args
        nodes = args.get("nodes") or {_ANY: None}
        jobs = [self._job(kind, node) for kind, node in nodes.items()]
        # Known in a preview, too, where names that Pulumi chooses are not.
        namespaces = [job.metadata.namespace.apply(str) for job in jobs]
        self.namespace = pulumi.Output.all(*namespaces).apply(lambda known: known[0])
        self.register_outputs({"namespace": self.namespace})

    def _job(self, kind: str, node: str | None) -> k8s.batch.v1.Job:
        seconds = int(self._args.get("update_timeout", TIMEOUT))
        # One that failed runs again in the next update, though nothing in it has changed.
        annotations = {"pulumi.com/replaceUnready": "true"}
        of_all = labels(self._name, "preflight")
        return k8s.batch.v1.Job(
            f"{self._name}-{kind}",
            # Auto-named: a Job can't change, and the next one is there before this one goes.
            metadata=metadata(None, self._args["namespace"], of_all, annotations),
            spec=k8s.batch.v1.JobSpecArgs(
                active_deadline_seconds=seconds,
                backoff_limit=0,
                template=_pod.probe_template(
                    f"{self._name}-probe", self._args.get("daemon", {}), node
                ),
            ),
            opts=awaited(self, seconds),
        )
