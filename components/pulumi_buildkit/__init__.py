"""BuildKit on Kubernetes behind an mTLS gateway, as Pulumi components."""

from pulumi_buildkit.certificates import (
    Certificates,
    CertificatesArgs,
    ClientBundle,
    ServerSecretLayout,
)
from pulumi_buildkit.deployment import BuildkitDeployment, BuildkitDeploymentArgs, service_host
from pulumi_buildkit.gateway import ENVOY_IMAGE, Gateway, GatewayArgs, Protocol, ServiceType
from pulumi_buildkit.registry import RegistryArgs
from pulumi_buildkit.security import Security, default_image

__all__ = [
    "ENVOY_IMAGE",
    "BuildkitDeployment",
    "BuildkitDeploymentArgs",
    "Certificates",
    "CertificatesArgs",
    "ClientBundle",
    "Gateway",
    "GatewayArgs",
    "Protocol",
    "RegistryArgs",
    "Security",
    "ServerSecretLayout",
    "ServiceType",
    "default_image",
    "service_host",
]
