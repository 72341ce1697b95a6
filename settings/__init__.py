"""The stack's configuration: its keys, their types, defaults and descriptions, checked all at once.

The classes here are the one source of the keys: docs/configuration.md is made from them.
"""

from settings.autoscaling import AutoscalingSettings
from settings.certificates import CertificateSettings, ClientSettings
from settings.daemon import (
    GarbageCollectionSettings,
    RegistrySettings,
    ResourceSettings,
    VolumeSettings,
)
from settings.extent import Preflight
from settings.gateway import GatewaySettings
from settings.job import BuildSecretSettings, JobSettings
from settings.modes import MODES, Mode, Traits
from settings.monitoring import MonitoringSettings
from settings.network_policies import NetworkPolicySettings, NetworkSourceSettings
from settings.nodes import UserNamespaceSettings
from settings.preflight import node_kinds
from settings.reading import checked, is_secret, load, parse
from settings.rollout import rolled
from settings.section import Section, section_of
from settings.stack import GATEWAY, PREFLIGHT, PROJECT, WORKLOAD, Settings

__all__ = [
    "GATEWAY",
    "MODES",
    "PREFLIGHT",
    "PROJECT",
    "WORKLOAD",
    "AutoscalingSettings",
    "BuildSecretSettings",
    "CertificateSettings",
    "ClientSettings",
    "GarbageCollectionSettings",
    "GatewaySettings",
    "JobSettings",
    "Mode",
    "MonitoringSettings",
    "NetworkPolicySettings",
    "NetworkSourceSettings",
    "Preflight",
    "RegistrySettings",
    "ResourceSettings",
    "Section",
    "Settings",
    "Traits",
    "UserNamespaceSettings",
    "VolumeSettings",
    "checked",
    "is_secret",
    "load",
    "node_kinds",
    "parse",
    "rolled",
    "section_of",
]
