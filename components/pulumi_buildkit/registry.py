"""How buildkitd reaches registries."""

from typing import NotRequired, TypedDict

import pulumi


class RegistryArgs(TypedDict):
    """One registry, as in https://github.com/moby/buildkit/blob/master/docs/buildkitd.toml.md."""

    mirrors: NotRequired[pulumi.Input[list[pulumi.Input[str]]]]
    """Registries asked first for what this one holds, each `host[:port][/path]`. Default: none."""
    http: NotRequired[pulumi.Input[bool]]
    """Talk plain HTTP to it. Default: false."""
    insecure: NotRequired[pulumi.Input[bool]]
    """Accept any TLS certificate of it. Default: false."""
    ca: NotRequired[pulumi.Input[str]]
    """PEM certificates that its own may be signed by. Default: those of buildkitd's image."""
