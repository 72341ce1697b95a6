"""What may not be combined, though each value by itself is right."""

from settings.rules import (
    autoscaling,
    buildkitd,
    certificates,
    daemon,
    gateway,
    job,
    modes,
    monitoring,
    network_policies,
    pod,
    resources,
)
from settings.rules.rule import Rule

RULES: tuple[Rule, ...] = (
    *modes.RULES,
    *autoscaling.RULES,
    *gateway.RULES,
    *network_policies.RULES,
    *certificates.RULES,
    *daemon.RULES,
    *resources.RULES,
    *buildkitd.RULES,
    *pod.RULES,
    *job.RULES,
    *monitoring.RULES,
)
