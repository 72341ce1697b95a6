"""The names, labels and annotations of everything that a component makes."""

from collections.abc import Mapping

import pulumi
import pulumi_kubernetes as k8s

# What was changed by hand is put back by the next update, instead of stopping it as a conflict:
# https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/managing-resources-with-server-side-apply/
_OURS = {"pulumi.com/patchForce": "true"}


def selector(name: str) -> dict[str, str]:
    """The label that finds the pods of the component called *name*, and no others."""
    return {"app": name}


def labels(name: str, component: str) -> dict[str, str]:
    """All labels of a *component* (buildkitd, gateway, …) called *name*.

    `app` is the label of upstream's manifests; the others are Kubernetes' recommended ones
    (https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/).
    """
    return {
        **selector(name),
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/part-of": "buildkit",
    }


def metadata(
    name: str | None,
    namespace: pulumi.Input[str],
    labels: dict[str, str],
    annotations: Mapping[str, pulumi.Input[str]] | None = None,
) -> k8s.meta.v1.ObjectMetaArgs:
    """Of an object called *name*; without one Pulumi names it, anew whenever it is replaced."""
    return k8s.meta.v1.ObjectMetaArgs(
        name=name,
        namespace=namespace,
        labels=labels,
        annotations={**_OURS, **(annotations or {})},
    )
