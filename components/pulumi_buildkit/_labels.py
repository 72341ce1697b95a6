"""The labels of everything that a component makes.

`app` is the label of upstream's manifests; the others are Kubernetes' recommended ones
(https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/).
"""


def selector(name: str) -> dict[str, str]:
    """The label that finds the pods of the component called *name*, and no others."""
    return {"app": name}


def labels(name: str, component: str) -> dict[str, str]:
    """All labels of a *component* (buildkitd, gateway, …) called *name*."""
    return {
        **selector(name),
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/part-of": "buildkit",
    }
