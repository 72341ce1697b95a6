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
from settings.gateway import GatewaySettings
from settings.job import BuildSecretSettings, JobSettings
from settings.modes import MODES, Mode, Traits
from settings.monitoring import MonitoringSettings
from settings.nodes import UserNamespaceSettings
from settings.reading import checked, is_secret, load, parse
from settings.section import Section, section_of
from settings.stack import PROJECT, WORKLOAD, Settings

__all__ = [
    "MODES",
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
    "parse",
    "section_of",
]
