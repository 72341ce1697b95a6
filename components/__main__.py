"""The component provider: the same components for every Pulumi language."""

import pulumi_buildkit as buildkit
from pulumi.provider.experimental import component_provider_host

COMPONENTS = [
    buildkit.Autoscaler,
    buildkit.BuildkitDeployment,
    buildkit.BuildkitJob,
    buildkit.BuildkitPod,
    buildkit.BuildkitStatefulSet,
    buildkit.Certificates,
    buildkit.Gateway,
    buildkit.NodePreflight,
    buildkit.NetworkPolicies,
    buildkit.Monitoring,
    buildkit.UserNamespaces,
]

if __name__ == "__main__":
    component_provider_host(name="buildkit", components=[*COMPONENTS])
