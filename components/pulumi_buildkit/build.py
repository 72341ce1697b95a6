"""What a BuildkitJob builds."""

from typing import NotRequired, TypedDict

import pulumi


class SecretKeyArgs(TypedDict):
    """One value in a Kubernetes Secret of the same namespace."""

    secret: pulumi.Input[str]
    """Name of the Secret."""
    key: pulumi.Input[str]
    """Key in it."""


class BuildArgs(TypedDict):
    """One build, as https://github.com/moby/buildkit/blob/master/docs/reference/buildctl.md says.

    All of it can be read in the Job, but for what `secrets` and `registry_credentials` refer to.
    """

    context: NotRequired[pulumi.Input[str]]
    """Git repository that is built, as `https://github.com/moby/buildkit.git#v0.34.2:examples`. A
    new commit in it is no change of the Job: name the commit. Default: none, but `files`."""
    files: NotRequired[dict[str, pulumi.Input[str]]]
    """The files that are built, each one's text by its path; 1 MiB in all. Default: none, but
    `context`."""
    dockerfile: NotRequired[pulumi.Input[str]]
    """Path of the Dockerfile among the files. Default: Dockerfile."""
    target: NotRequired[pulumi.Input[str]]
    """Stage of the Dockerfile to end with. Default: the last one."""
    build_args: NotRequired[dict[str, pulumi.Input[str]]]
    """Values of the Dockerfile's ARGs, by name. Default: none."""
    platforms: NotRequired[list[pulumi.Input[str]]]
    """Platforms to build for, each `os/arch[/variant]`. Default: the node's."""
    outputs: NotRequired[list[dict[str, pulumi.Input[str]]]]
    """Where the result goes, each as the keys and values of an `--output`: `type: image`,
    `name: HOST/NAME:TAG`, `push: "true"`. Default: nowhere."""
    cache_from: NotRequired[list[dict[str, pulumi.Input[str]]]]
    """Caches to build from, each as the keys and values of an `--import-cache`: `type: registry`,
    `ref: HOST/NAME:TAG`. Default: none."""
    cache_to: NotRequired[list[dict[str, pulumi.Input[str]]]]
    """Where the cache goes, each as the keys and values of an `--export-cache`. Default:
    nowhere."""
    secrets: NotRequired[dict[str, SecretKeyArgs]]
    """What `RUN --mount=type=secret` finds, by its id; `GIT_AUTH_TOKEN` opens a private
    `context`. A new value is no change of the Job. Default: none."""
    registry_credentials: NotRequired[pulumi.Input[str]]
    """Secret of the type kubernetes.io/dockerconfigjson, for pulling and pushing. Default:
    none."""
    frontend: NotRequired[pulumi.Input[str]]
    """What reads the Dockerfile. Default: dockerfile.v0."""
    options: NotRequired[dict[str, pulumi.Input[str]]]
    """Further `--opt`s of the frontend, by name, as `no-cache` or `label:KEY`. Default: none."""
