"""The component provider: the same components for every Pulumi language."""

from pulumi.provider.experimental import component_provider_host
from pulumi_buildkit import BuildkitDeployment, Certificates, Gateway

COMPONENTS = [BuildkitDeployment, Certificates, Gateway]

if __name__ == "__main__":
    component_provider_host(name="buildkit", components=[*COMPONENTS])
