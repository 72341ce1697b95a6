"""The images that a stack's pods run where its configuration names no others."""

from typing import NamedTuple

from pulumi_buildkit import BUSYBOX_IMAGE, ENVOY_IMAGE
from pulumi_buildkit.security import VARIANTS


class Image(NamedTuple):
    """An image, which nodes pull."""

    reference: str
    use: str
    licence: str
    """Of the program that is run, as its source says."""
    source: str


_BUILDKIT = ("buildkitd", "Apache-2.0", "https://github.com/moby/buildkit")

IMAGES = (
    *(Image(image, *_BUILDKIT) for image in dict.fromkeys(v.image for v in VARIANTS.values())),
    Image(ENVOY_IMAGE, "the gateway", "Apache-2.0", "https://github.com/envoyproxy/envoy"),
    Image(BUSYBOX_IMAGE, "`userNamespaces`", "GPL-2.0-only", "https://busybox.net/license.html"),
)
