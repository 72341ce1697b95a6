"""How pods roll, what makes them, and how long an update waits for it."""

from collections.abc import Mapping

import pulumi
import pulumi_kubernetes as k8s

TIMEOUT = 600
"""Seconds: the Kubernetes provider's own default."""

SURGE = k8s.apps.v1.DeploymentStrategyArgs(
    type="RollingUpdate",
    rolling_update=k8s.apps.v1.RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0),
)
"""The new pod is ready before the old one stops: an update that fails leaves that one running."""

RECREATE = k8s.apps.v1.DeploymentStrategyArgs(type="Recreate")
"""The old pod stops before the new one starts: two must not share a volume."""


def rolling_config(
    parent: pulumi.Resource,
    name: str,
    metadata: k8s.meta.v1.ObjectMetaArgs,
    data: pulumi.Input[Mapping[str, pulumi.Input[str]]],
) -> pulumi.Output[str]:
    """Make a ConfigMap whose every change rolls the pods that mount it; its name.

    Auto-named (*metadata* has no name) and never changed in place: other data are another one.
    """
    config_map = k8s.core.v1.ConfigMap(
        name,
        metadata=metadata,
        data=data,
        immutable=True,
        opts=pulumi.ResourceOptions(parent=parent),
    )
    return config_map.metadata.name.apply(str)


def awaited(
    parent: pulumi.Resource, seconds: int, going: int = 0, in_turn: int = 0
) -> pulumi.ResourceOptions:
    """Options of a child whose pods an update waits for, *seconds* at most.

    A pod needs *going* seconds to go, and *in_turn* pods go before the last new one is there.
    """
    update = (seconds + going) * in_turn or seconds
    return pulumi.ResourceOptions(
        parent=parent,
        custom_timeouts=pulumi.CustomTimeouts(
            create=f"{seconds}s", update=f"{update}s", delete=f"{seconds + going}s"
        ),
    )
