"""buildkitd as a StatefulSet: pods with names and caches of their own."""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _pod
from pulumi_buildkit._options import reaching_children
from pulumi_buildkit._workload import Workload, headless_spec, service_host
from pulumi_buildkit.daemon import DaemonArgs
from pulumi_buildkit.metadata import selector
from pulumi_buildkit.secret_layout import SecretLayout
from pulumi_buildkit.volume import VolumeArgs, VolumeKind


class BuildkitStatefulSetArgs(TypedDict):
    """Arguments of `BuildkitStatefulSet`."""

    namespace: pulumi.Input[str]
    """Namespace of everything in it."""
    daemon: NotRequired[DaemonArgs]
    """How buildkitd runs. Default: rootless."""
    certificates: NotRequired[pulumi.Input[str]]
    """Secret with the certificate for TCP. Default: none; then only `kube-pod://` leads to it."""
    certificates_layout: NotRequired[SecretLayout]
    """The keys in that Secret. Default: daemon."""
    volume: NotRequired[VolumeArgs]
    """Where each pod keeps its cache. Default: a claim each."""
    replicas: NotRequired[int]
    """Number of daemons; each has a cache of its own. Default: 1."""
    autoscaled: NotRequired[bool]
    """Whether somebody else, as an `Autoscaler`, says how many of up to `replicas` there are; the
    first is there from the beginning, and all claims. Default: false."""
    update_timeout: NotRequired[int]
    """How long an update waits for the pods to be ready, in seconds. Default: 600."""


class BuildkitStatefulSet(pulumi.ComponentResource):
    """buildkitd in pods NAME-0, NAME-1, …, from upstream's `statefulset.*.yaml`.

    Clients choose the pod of a project by consistent hashing, and meet its cache again. A rollout
    goes pod by pod, after what is new was started once for a trial.
    """

    workload: pulumi.Output[str]
    """What kubectl calls it, `statefulset/NAME`."""
    host: pulumi.Output[str]
    """With certificates: the Service's name in the cluster's DNS, `NAME.NAMESPACE.svc`."""
    port: pulumi.Output[int]
    """With certificates: the Service's port."""
    pods: pulumi.Output[list[str]]
    """The pods' names, for `kube-pod://`."""
    hosts: pulumi.Output[list[str]]
    """The pods' names in the cluster's DNS, for a `Gateway` that chooses one for each client."""

    def __init__(
        self, name: str, args: BuildkitStatefulSetArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Make the ConfigMap, the claims, the StatefulSet and its Services."""
        super().__init__("buildkit:index:BuildkitStatefulSet", name, {}, reaching_children(opts))
        replicas = int(args.get("replicas", 1))
        workload = Workload.of(self, name, args, VolumeKind.CLAIM)
        buildkitd = workload.buildkitd()
        headless = self._headless_service(workload)
        claims = range(replicas if workload.has_claims else 0)
        stateful_set = k8s.apps.v1.StatefulSet(
            name,
            metadata=workload.metadata(name),
            spec=k8s.apps.v1.StatefulSetSpecArgs(
                replicas=workload.replicas(replicas),
                service_name=headless,
                pod_management_policy="Parallel",
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(name)),
                template=_pod.pod_template(buildkitd, workload.cache, workload.empty_dirs()),
                volume_claim_templates=_claim_templates(workload),
            ),
            opts=workload.proven(buildkitd, replicas, [workload.claim(f"-{n}") for n in claims]),
        )
        workload.service()
        # Known when the provider has waited for it.
        self.workload = pulumi.Output.concat("statefulset/", stateful_set.metadata.name)
        self.host = service_host(name, args["namespace"])
        self.port = pulumi.Output.from_input(_pod.PORT)
        self.pods = pulumi.Output.from_input([f"{name}-{n}" for n in range(replicas)])
        domain = service_host(f"{name}-pods", args["namespace"])
        self.hosts = pulumi.Output.all(self.pods, domain).apply(
            lambda known: [f"{pod}.{known[1]}" for pod in known[0]]
        )
        self.register_outputs(
            {
                "workload": self.workload,
                "host": self.host,
                "port": self.port,
                "pods": self.pods,
                "hosts": self.hosts,
            }
        )

    def _headless_service(self, workload: Workload) -> pulumi.Output[str]:
        name = f"{workload.name}-pods"
        service = k8s.core.v1.Service(
            name,
            workload.with_overlay(workload.metadata(name), headless_spec(workload.name)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return service.metadata.name.apply(str)


def _claim_templates(
    workload: Workload,
) -> list[k8s.core.v1.PersistentVolumeClaimArgs] | None:
    """What names the pods' claims, which are there before the pods.

    A template of another size would be another StatefulSet: the claims' size is not in it.
    """
    if not workload.has_claims:
        return None
    return [
        k8s.core.v1.PersistentVolumeClaimArgs(
            metadata=k8s.meta.v1.ObjectMetaArgs(name=workload.cache),
            spec=k8s.core.v1.PersistentVolumeClaimSpecArgs(
                access_modes=["ReadWriteOnce"],
                resources=k8s.core.v1.VolumeResourceRequirementsArgs(requests={"storage": "1Gi"}),
            ),
        )
    ]
