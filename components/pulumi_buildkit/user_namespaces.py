"""User namespaces on nodes that forbid them."""

from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _pod
from pulumi_buildkit._options import reaching_children
from pulumi_buildkit._overlay_rules import Target
from pulumi_buildkit._rollout import TIMEOUT, awaited
from pulumi_buildkit.metadata import labels, metadata, selector
from pulumi_buildkit.overlay import merged

MAXIMUM = 63359
"""How many user namespaces upstream's manifest allows."""
BUSYBOX_IMAGE = "docker.io/library/busybox:stable"


class UserNamespacesArgs(TypedDict):
    """Arguments of `UserNamespaces`."""

    namespace: pulumi.Input[str]
    """Namespace of everything in it."""
    maximum: NotRequired[int]
    """How many user namespaces each user of a node may make, at least. Default: 63359."""
    image: NotRequired[pulumi.Input[str]]
    """Busybox's image. Default: `BUSYBOX_IMAGE`."""
    pod: NotRequired[dict[str, Any]]
    """A pod template in the Kubernetes API's own names, `{metadata: …, spec: …}`, merged over the
    component's as `kubectl patch` does (strategic merge). Its container is `sysctl-userns`.
    Default: empty."""
    update_timeout: NotRequired[int]
    """How long an update waits for the pods to be ready, in seconds. Default: 600."""


class UserNamespaces(pulumi.ComponentResource):
    """Lets rootless buildkitd start on nodes where `user.max_user_namespaces` is 0.

    That is said of Bottlerocket. A DaemonSet from upstream's `sysctl-userns.privileged.yaml`, with
    a privileged pod on each node; what it has set stays when it is gone, until the node restarts.
    """

    def __init__(
        self, name: str, args: UserNamespacesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Make the DaemonSet.

        Raises:
            ValueError: the overlay breaks what the component promises.
        """
        super().__init__("buildkit:index:UserNamespaces", name, {}, reaching_children(opts))
        k8s.apps.v1.DaemonSet(
            name,
            metadata=metadata(name, args["namespace"], labels(name, _COMPONENT)),
            spec=k8s.apps.v1.DaemonSetSpecArgs(
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(name)),
                update_strategy=_AT_ONCE,
                template=merged(
                    pod_template(name, args), args.get("pod", {}), Target.USER_NAMESPACES
                ),
            ),
            opts=awaited(self, int(args.get("update_timeout", TIMEOUT))),
        )
        self.register_outputs({})


def pod_template(name: str, args: UserNamespacesArgs) -> k8s.core.v1.PodTemplateSpecArgs:
    """The pods of the component *name* without an overlay."""
    return k8s.core.v1.PodTemplateSpecArgs(
        metadata=k8s.meta.v1.ObjectMetaArgs(labels=labels(name, _COMPONENT)),
        spec=k8s.core.v1.PodSpecArgs(
            automount_service_account_token=False,
            node_selector={**_pod.LINUX},
            # It has nothing to finish, and it sleeps through a SIGTERM.
            termination_grace_period_seconds=1,
            containers=[_container(args)],
        ),
    )


_COMPONENT = "user-namespaces"
_SYSCTL = "user.max_user_namespaces"

# The setting outlives its pod, so that no node misses it meanwhile.
_AT_ONCE = k8s.apps.v1.DaemonSetUpdateStrategyArgs(
    type="RollingUpdate",
    rolling_update=k8s.apps.v1.RollingUpdateDaemonSetArgs(max_unavailable="100%"),
)


def _container(args: UserNamespacesArgs) -> k8s.core.v1.ContainerArgs:
    maximum = int(args.get("maximum", MAXIMUM))
    enough = f'test "$(sysctl -n {_SYSCTL})" -ge {maximum}'
    script = f"if ! {enough}; then sysctl -w {_SYSCTL}={maximum}; fi; sleep infinity"
    return k8s.core.v1.ContainerArgs(
        name="sysctl-userns",
        image=args.get("image", BUSYBOX_IMAGE),
        command=["sh", "-euxc", script],
        security_context=k8s.core.v1.SecurityContextArgs(privileged=True),
        # What it said last is the reason that an update gives for a pod that does not start.
        termination_message_policy="FallbackToLogsOnError",
        # An update goes on to buildkitd when the node has it.
        readiness_probe=k8s.core.v1.ProbeArgs(
            exec_=k8s.core.v1.ExecActionArgs(command=["sh", "-c", enough]), period_seconds=1
        ),
    )
