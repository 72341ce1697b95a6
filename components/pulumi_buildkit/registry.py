"""How buildkitd reaches registries: the `[registry."…"]` tables of buildkitd.toml."""

from typing import Any, NotRequired, TypedDict

import pulumi
import tomli_w


class RegistryArgs(TypedDict):
    """One registry, as in https://github.com/moby/buildkit/blob/master/docs/buildkitd.toml.md."""

    mirrors: NotRequired[pulumi.Input[list[pulumi.Input[str]]]]
    """Registries asked first for what this one holds, each `host[:port][/path]`. Default: none."""
    http: NotRequired[pulumi.Input[bool]]
    """Talk plain HTTP to it. Default: false."""
    insecure: NotRequired[pulumi.Input[bool]]
    """Accept any TLS certificate of it. Default: false."""


def buildkitd_toml(registries: dict[str, Any]) -> str:
    """buildkitd.toml with these registries, by host."""
    return tomli_w.dumps({"registry": registries} if registries else {})
