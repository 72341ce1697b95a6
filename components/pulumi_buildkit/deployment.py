"""buildkitd as a Deployment with a Service."""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _pod
from pulumi_buildkit._metadata import labels, metadata, selector
from pulumi_buildkit._rollout import SURGE, TIMEOUT, awaited
from pulumi_buildkit.registry import RegistryArgs, buildkitd_toml
from pulumi_buildkit.security import VARIANTS, Security


class BuildkitDeploymentArgs(TypedDict):
    """Arguments of `BuildkitDeployment`."""

    namespace: pulumi.Input[str]
    """Namespace of everything in it."""
    certificates: pulumi.Input[str]
    """Secret with ca.pem, cert.pem and key.pem: who may connect, and what they meet."""
    security: NotRequired[Security]
    """How much of the node buildkitd may touch. Default: rootless."""
    image: NotRequired[pulumi.Input[str]]
    """buildkitd's image, used as it is. Default: `default_image` of the security variant."""
    replicas: NotRequired[int]
    """Number of daemons; each has a cache of its own. Default: 1."""
    registries: NotRequired[dict[str, RegistryArgs]]
    """How to reach registries, by host. Default: all by HTTPS."""
    update_timeout: NotRequired[int]
    """How long an update waits for the pods to be ready, in seconds. Default: 600."""


class BuildkitDeployment(pulumi.ComponentResource):
    """buildkitd with mTLS on port 1234, from upstream's deployment+service.*.yaml.

    A rollout starts the new pod before the old one stops.
    """

    host: pulumi.Output[str]
    """The Service's name in the cluster's DNS, `NAME.NAMESPACE.svc`."""
    port: pulumi.Output[int]
    """The Service's port."""

    def __init__(
        self, name: str, args: BuildkitDeploymentArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Make the ConfigMap, the Deployment and the Service."""
        super().__init__("buildkit:index:BuildkitDeployment", name, {}, opts)
        self._name = name
        self._args = args
        self._deployment(self._config())
        self._service()
        self.host = service_host(name, args["namespace"])
        self.port = pulumi.Output.from_input(_pod.PORT)
        self.register_outputs({"host": self.host, "port": self.port})

    def _config(self) -> k8s.core.v1.ConfigMap:
        registries = pulumi.Output.from_input(self._args.get("registries", {}))
        # Auto-named: a change is a new ConfigMap, and so rolls the pods.
        return k8s.core.v1.ConfigMap(
            f"{self._name}-config",
            metadata=self._metadata(None),
            data={"buildkitd.toml": registries.apply(buildkitd_toml)},
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _deployment(self, config: k8s.core.v1.ConfigMap) -> k8s.apps.v1.Deployment:
        args = self._args
        variant = VARIANTS[Security(args.get("security", Security.ROOTLESS))]
        return k8s.apps.v1.Deployment(
            self._name,
            metadata=self._metadata(self._name),
            spec=k8s.apps.v1.DeploymentSpecArgs(
                replicas=int(args.get("replicas", 1)),
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(self._name)),
                strategy=SURGE,
                template=_pod.pod_template(
                    self._name,
                    variant,
                    args.get("image", variant.image),
                    args["certificates"],
                    config.metadata.name.apply(str),
                ),
            ),
            opts=awaited(self, int(args.get("update_timeout", TIMEOUT))),
        )

    def _service(self) -> k8s.core.v1.Service:
        return k8s.core.v1.Service(
            self._name,
            # Clients wait for buildkitd at the gateway, so an update need not wait for it here.
            metadata=self._metadata(self._name, {"pulumi.com/skipAwait": "true"}),
            spec=k8s.core.v1.ServiceSpecArgs(
                selector=selector(self._name),
                ports=[k8s.core.v1.ServicePortArgs(port=_pod.PORT, target_port="buildkitd")],
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _metadata(
        self, name: str | None, annotations: dict[str, str] | None = None
    ) -> k8s.meta.v1.ObjectMetaArgs:
        return metadata(name, self._args["namespace"], labels(self._name, "buildkitd"), annotations)


def service_host(name: str, namespace: pulumi.Input[str]) -> pulumi.Output[str]:
    """The name of the Service *name* in the cluster's DNS."""
    return pulumi.Output.concat(name, ".", namespace, ".svc")
