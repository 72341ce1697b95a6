"""BuildKit on Kubernetes behind an mTLS gateway, as Pulumi components."""

from pulumi_buildkit._envoy import ENVOY_IMAGE, Protocol
from pulumi_buildkit._farm import Routing
from pulumi_buildkit._workload import service_host
from pulumi_buildkit.autoscaler import Autoscaler, AutoscalerArgs
from pulumi_buildkit.build import BuildArgs, SecretKeyArgs
from pulumi_buildkit.certificates import Certificates, CertificatesArgs, ClientBundle
from pulumi_buildkit.daemon import (
    DaemonArgs,
    GarbageCollectionArgs,
    MetricsArgs,
    OtlpProtocol,
    ResourcesArgs,
    TracesArgs,
)
from pulumi_buildkit.deployment import BuildkitDeployment, BuildkitDeploymentArgs
from pulumi_buildkit.gateway import (
    ClientArgs,
    ExternalTrafficPolicy,
    Gateway,
    GatewayArgs,
    ServiceType,
)
from pulumi_buildkit.job import BuildkitJob, BuildkitJobArgs
from pulumi_buildkit.pod import BuildkitPod, BuildkitPodArgs
from pulumi_buildkit.registry import RegistryArgs
from pulumi_buildkit.role import Role
from pulumi_buildkit.secret_layout import SecretLayout
from pulumi_buildkit.security import Security, default_image
from pulumi_buildkit.stateful_set import BuildkitStatefulSet, BuildkitStatefulSetArgs
from pulumi_buildkit.user_namespaces import BUSYBOX_IMAGE, UserNamespaces, UserNamespacesArgs
from pulumi_buildkit.volume import VolumeArgs, VolumeKind

__all__ = [
    "BUSYBOX_IMAGE",
    "ENVOY_IMAGE",
    "Autoscaler",
    "AutoscalerArgs",
    "BuildArgs",
    "BuildkitDeployment",
    "BuildkitDeploymentArgs",
    "BuildkitJob",
    "BuildkitJobArgs",
    "BuildkitPod",
    "BuildkitPodArgs",
    "BuildkitStatefulSet",
    "BuildkitStatefulSetArgs",
    "Certificates",
    "CertificatesArgs",
    "ClientArgs",
    "ClientBundle",
    "DaemonArgs",
    "ExternalTrafficPolicy",
    "GarbageCollectionArgs",
    "Gateway",
    "GatewayArgs",
    "MetricsArgs",
    "OtlpProtocol",
    "Protocol",
    "RegistryArgs",
    "ResourcesArgs",
    "Role",
    "Routing",
    "SecretKeyArgs",
    "SecretLayout",
    "Security",
    "ServiceType",
    "TracesArgs",
    "UserNamespaces",
    "UserNamespacesArgs",
    "VolumeArgs",
    "VolumeKind",
    "default_image",
    "service_host",
]
