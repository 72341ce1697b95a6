"""The keys of what follows the builds."""

from pulumi_buildkit.autoscaler import BUILDS, COOLDOWN

from settings.section import Section
from settings.values import Builds, Fewest, Replicas, Seconds


class AutoscalingSettings(Section):
    """How the number of buildkitd pods follows the builds, by KEDA, which has to be there."""

    min: Fewest | None = None
    """The fewest pods; with 0 there is none while nobody builds, and the next build wakes one.
    Default: 0; with a farm, `farm.replicas` says it."""
    max: Replicas | None = None
    """The most pods. Default: 1; with a farm, `farm.replicas` says it."""
    cooldown: Seconds = COOLDOWN
    """How long there is no build, or are fewer, until there are fewer pods, in seconds."""
    builds: Builds = BUILDS
    """Builds for each pod: with more of them there are more pods."""
