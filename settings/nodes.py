"""The keys of what is changed on the nodes."""

from typing import Any

from pulumi_buildkit.user_namespaces import BUSYBOX_IMAGE, MAXIMUM

from settings.section import Section
from settings.values import Image, NamespaceCount


class UserNamespaceSettings(Section):
    """A DaemonSet that allows user namespaces on nodes whose `user.max_user_namespaces` is 0.

    `security: rootless` and `userns` need them; Bottlerocket is such a system.
    """

    enabled: bool = False
    """Whether to run it."""
    maximum: NamespaceCount = MAXIMUM
    """What `user.max_user_namespaces` is raised to where it is less."""
    image: Image = BUSYBOX_IMAGE
    """Image with `sh` and `sysctl`, by tag or digest."""
    pod: dict[str, Any] = {}
    """What else its pods have, as in `buildkit:pod`; the container is `sysctl-userns`. Default:
    nothing."""
