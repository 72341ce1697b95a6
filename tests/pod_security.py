"""What keeps each pod that is made from the stricter Pod Security Standards.

The lab's tests ask the API server; docs/security.md has a table of it.
"""

from typing import NamedTuple

LEVELS = ("restricted", "baseline", "privileged")
"""Of the Pod Security Standards, the strictest one first."""


LABEL = "pod-security.kubernetes.io/enforce"
"""Of a namespace, with the level that is enforced there."""


class Level(NamedTuple):
    """What an API server says of a pod."""

    strictest: str
    """The strictest level that lets it in."""
    against: str = ""
    """What the next stricter one has against it, in the API server's words."""


_PRIVILEGED = Level("privileged", "privileged")

STRICTEST = {
    "the gateway": Level("restricted"),
    "`rootless`": Level("privileged", "forbidden AppArmor profile, seccompProfile"),
    "`userns`": _PRIVILEGED,
    "`privileged`": _PRIVILEGED,
    "`buildkit:userNamespaces`": _PRIVILEGED,
}
"""The strictest level of each, as the page calls them."""
