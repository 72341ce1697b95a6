"""buildkitd as a bare Pod."""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _pod
from pulumi_buildkit._options import reaching_children
from pulumi_buildkit._workload import Workload, service_host
from pulumi_buildkit.daemon import DaemonArgs
from pulumi_buildkit.secret_layout import SecretLayout
from pulumi_buildkit.volume import VolumeArgs, VolumeKind

_REPLACED = pulumi.ResourceOptions(replace_on_changes=["spec"], delete_before_replace=True)
"""Kubernetes lets next to nothing of a pod change, and what it does lets go untried."""


class BuildkitPodArgs(TypedDict):
    """Arguments of `BuildkitPod`."""

    namespace: pulumi.Input[str]
    """Namespace of everything in it."""
    daemon: NotRequired[DaemonArgs]
    """How buildkitd runs. Default: rootless."""
    certificates: NotRequired[pulumi.Input[str]]
    """Secret with the certificate for TCP. Default: none; then only `kube-pod://` leads to it."""
    certificates_layout: NotRequired[SecretLayout]
    """The keys in that Secret. Default: daemon."""
    volume: NotRequired[VolumeArgs]
    """Where the cache is kept. Default: an emptyDir."""
    update_timeout: NotRequired[int]
    """How long an update waits for the pod to be ready, in seconds. Default: 600."""


class BuildkitPod(pulumi.ComponentResource):
    """buildkitd in a Pod, for `buildctl --addr kube-pod://NAME`, from upstream's `pod.*.yaml`.

    A pod can't change: an update starts what is new once for a trial, and then replaces the pod.
    """

    workload: pulumi.Output[str]
    """What kubectl calls it, `pod/NAME`."""
    host: pulumi.Output[str]
    """With certificates: the Service's name in the cluster's DNS, `NAME.NAMESPACE.svc`."""
    port: pulumi.Output[int]
    """With certificates: the Service's port."""
    pods: pulumi.Output[list[str]]
    """The pod's name, for `kube-pod://`."""

    def __init__(
        self, name: str, args: BuildkitPodArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Make the ConfigMap, the Pod, its claim and the Service."""
        super().__init__("buildkit:index:BuildkitPod", name, {}, reaching_children(opts))
        workload = Workload.of(self, name, args, VolumeKind.EMPTY_DIR)
        buildkitd = workload.buildkitd()
        metadata = workload.metadata(name, _pod.annotations(buildkitd.daemon))
        template = workload.pod_template(buildkitd, "-pod", metadata)
        pod = k8s.core.v1.Pod(
            name,
            metadata=template.metadata,
            spec=template.spec,
            opts=pulumi.ResourceOptions.merge(workload.proven(buildkitd), _REPLACED),
        )
        workload.service()
        self.workload = pulumi.Output.from_input(f"pod/{name}")
        self.host = service_host(name, args["namespace"])
        self.port = pulumi.Output.from_input(_pod.PORT)
        self.pods = pod.metadata.name.apply(lambda pod_name: [str(pod_name)])
        self.register_outputs(
            {"workload": self.workload, "host": self.host, "port": self.port, "pods": self.pods}
        )
