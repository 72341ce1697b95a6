"""Where buildkitd keeps its cache."""

from enum import Enum
from typing import NotRequired, TypedDict

import pulumi

CLAIM_SIZE = "50Gi"
"""What a claim asks for when nobody says."""


class VolumeKind(str, Enum):
    """What holds the cache."""

    EMPTY_DIR = "emptyDir"
    """The node's disk, as long as the pod lives."""
    CLAIM = "claim"
    """A PersistentVolumeClaim for each pod, which outlives it."""


class VolumeArgs(TypedDict):
    """The volume of one buildkitd pod."""

    kind: NotRequired[VolumeKind]
    """What holds the cache. Default: emptyDir, and claim in a StatefulSet."""
    size: NotRequired[str]
    """Kubernetes quantity: what a claim asks for; the limit of an emptyDir, which is requested of
    the node, too, unless the container's resources have ephemeral-storage. A claim can grow, never
    shrink. Default: 50Gi for a claim, no limit for an emptyDir."""
    storage_class: NotRequired[pulumi.Input[str]]
    """Of new claims: a claim keeps the class that it was made with. Default: the cluster's own."""
    protect: NotRequired[bool]
    """Whether an update that would delete a claim is refused. Default: true."""
