"""The keys of a farm of buildkitds."""

from pulumi_buildkit import Routing

from settings.section import Section
from settings.values import Fewest, Replicas


class FarmReplicasSettings(Section):
    """How many buildkitd pods a farm has; where the two differ, they follow the builds by KEDA."""

    min: Fewest = 1
    """The fewest; with 0 there is none while nobody builds, and the next build wakes one."""
    max: Replicas = 3
    """The most."""


class FarmSettings(Section):
    """Several buildkitd pods with a cache each, and a gateway that chooses one for each client."""

    replicas: FarmReplicasSettings = FarmReplicasSettings()
    """How many pods there are."""
    routing: Routing = Routing.HOST_NAME
    """Which of them a client meets."""
