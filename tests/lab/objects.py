"""The objects of a stack: those that there are, and those that Pulumi knows."""

import json

from tests.lab.conftest import Installation

KINDS = (
    "deployments,statefulsets,daemonsets,jobs,services,configmaps,secrets,persistentvolumeclaims,"
    "poddisruptionbudgets,networkpolicies"
)
NOT_OURS = {"configmap/kube-root-ca.crt"}


def live(installation: Installation, *kinds: str) -> set[str]:
    """What is in the stack's namespace, but for what belongs to something else there.

    *kinds* are further ones, which not every cluster has.
    """
    asked = ",".join([KINDS, "pods", *kinds])
    objects = json.loads(installation.kubectl("get", asked, "--output=json"))["items"]
    names = {
        f"{o['kind'].lower()}/{o['metadata']['name']}"
        for o in objects
        if not o["metadata"].get("ownerReferences")
    }
    return names - NOT_OURS


def recorded(installation: Installation) -> set[str]:
    """What Pulumi knows to be in the stack's namespace."""
    export = installation.lab.stack().cli("stack", "export")
    resources = json.loads(export)["deployment"]["resources"]
    namespace = installation.outputs["namespace"]
    return {
        f"{resource['type'].rpartition(':')[2].lower()}/{resource['id'].removeprefix(prefix)}"
        for resource in resources
        if resource.get("id", "").startswith(prefix := f"{namespace}/")
    }
