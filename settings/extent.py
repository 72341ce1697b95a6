"""How far a stack looks before anything is made."""

from enum import Enum


class Preflight(str, Enum):
    """What is looked at before anything is made."""

    NONE = "none"
    """The configuration only, and nothing of the cluster."""
    CLUSTER = "cluster"
    """What the cluster says of itself, asked by each preview too."""
    NODES = "nodes"
    """That, and each kind of node: `pulumi up` has a Job build one step there first."""
