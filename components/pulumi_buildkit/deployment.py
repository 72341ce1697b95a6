"""buildkitd as a Deployment with a Service."""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _pod
from pulumi_buildkit._options import reaching_children
from pulumi_buildkit._rollout import RECREATE, SURGE
from pulumi_buildkit._workload import Workload, service_host
from pulumi_buildkit.daemon import DaemonArgs
from pulumi_buildkit.metadata import selector
from pulumi_buildkit.secret_layout import SecretLayout
from pulumi_buildkit.volume import VolumeArgs, VolumeKind


class BuildkitDeploymentArgs(TypedDict):
    """Arguments of `BuildkitDeployment`."""

    namespace: pulumi.Input[str]
    """Namespace of everything in it."""
    certificates: pulumi.Input[str]
    """Secret with buildkitd's certificate: who may connect, and what they meet."""
    certificates_layout: NotRequired[SecretLayout]
    """The keys in that Secret. Default: daemon."""
    daemon: NotRequired[DaemonArgs]
    """How buildkitd runs. Default: rootless."""
    volume: NotRequired[VolumeArgs]
    """Where the cache is kept; a claim allows one replica. Default: an emptyDir for each pod."""
    replicas: NotRequired[int]
    """Number of daemons; each has a cache of its own. Default: 1."""
    autoscaled: NotRequired[bool]
    """Whether somebody else, as an `Autoscaler`, says how many of up to `replicas` there are; the
    first is there from the beginning. Default: false."""
    update_timeout: NotRequired[int]
    """How long an update waits for the pods to be ready, in seconds. Default: 600."""


class BuildkitDeployment(pulumi.ComponentResource):
    """buildkitd with mTLS on port 1234, from upstream's `deployment+service.*.yaml`.

    A rollout starts the new pod before the old one stops. With a claim, which two pods must not
    share, the old one stops first, after what is new was started once for a trial.
    """

    workload: pulumi.Output[str]
    """What kubectl calls it, `deployment/NAME`."""
    host: pulumi.Output[str]
    """The Service's name in the cluster's DNS, `NAME.NAMESPACE.svc`."""
    port: pulumi.Output[int]
    """The Service's port."""

    def __init__(
        self, name: str, args: BuildkitDeploymentArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Make the ConfigMap, the Deployment, its claim and the Service."""
        super().__init__("buildkit:index:BuildkitDeployment", name, {}, reaching_children(opts))
        replicas = int(args.get("replicas", 1))
        workload = Workload.of(self, name, args, VolumeKind.EMPTY_DIR)
        if workload.has_claims and replicas > 1:
            raise ValueError(
                f"{name}: replicas: {replicas} pods can't share one claim; take one replica, an "
                "emptyDir, or a BuildkitStatefulSet"
            )
        buildkitd = workload.buildkitd()
        deployment = k8s.apps.v1.Deployment(
            name,
            metadata=workload.metadata(name),
            spec=k8s.apps.v1.DeploymentSpecArgs(
                replicas=workload.replicas(replicas),
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(name)),
                strategy=RECREATE if workload.has_claims else SURGE,
                template=workload.pod_template(buildkitd),
            ),
            opts=workload.proven(buildkitd) if workload.has_claims else workload.awaited(),
        )
        workload.service()
        # Known when the provider has waited for it.
        self.workload = pulumi.Output.concat("deployment/", deployment.metadata.name)
        self.host = service_host(name, args["namespace"])
        self.port = pulumi.Output.from_input(_pod.PORT)
        self.register_outputs({"workload": self.workload, "host": self.host, "port": self.port})
