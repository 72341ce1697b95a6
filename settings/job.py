"""The keys of the one build that a Job runs."""

import json
from typing import Annotated

from pydantic import BeforeValidator

from settings.git import GitUrl
from settings.section import Section
from settings.values import DataKey, Deadline, Keeping, ObjectName, Retries, check, like, shown_as


def _as_text(value: object) -> object:
    """What YAML takes for a number or a truth value, as buildctl spells it."""
    return json.dumps(value) if isinstance(value, int) else value


def _is_inside(path: str) -> bool:
    # Kubernetes mounts no path with a colon.
    outside = {"", ".", ".."} & {*path.split("/")}
    return path.isprintable() and ":" not in path and not outside


Text = Annotated[str, check(lambda value: "\0" not in value, "holds a NUL; take it away")]
ArgumentName = Annotated[
    str,
    check(like(r"[A-Za-z_][\w.:-]*"), "is no name of a build argument; write it as VERSION"),
]
AttributeName = Annotated[
    str,
    check(like(r"[a-z][a-z0-9.\[\]_/:-]*"), "is no attribute; write it as buildctl does, as push"),
]
Attribute = Annotated[Text, BeforeValidator(_as_text)]
SecretId = Annotated[
    str,
    check(
        like(r"(?!\.\.)[\w.-]{1,100}"),
        "is no ID of a secret; take letters, digits, dots, hyphens and underscores",
    ),
]
Platform = Annotated[
    str,
    check(
        like(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?"),
        "is no platform; write it as linux/amd64 or linux/arm/v7",
    ),
]
Frontend = Annotated[
    str,
    check(
        like(r"(dockerfile|gateway)\.v0"),
        "is no frontend; take dockerfile.v0, or gateway.v0 with an image as options.source",
    ),
    shown_as("text"),
]
Path = Annotated[
    str,
    check(
        _is_inside,
        "is no path of a file in the context; write it from there, as src/main.c",
    ),
    shown_as("path"),
]
Attributes = dict[AttributeName, Attribute]


class BuildSecretSettings(Section):
    """A value of a Kubernetes Secret, for `RUN --mount=type=secret,id=ID`."""

    secret: ObjectName
    """The Secret, in the same namespace."""
    key: DataKey
    """The key in it."""


class JobSettings(Section):
    """The build of `mode: job`. It runs again when what is built, or how, has changed."""

    context: GitUrl | None = None
    """Git repository to build. Default: `files`."""
    files: dict[Path, Text] = {}
    """Files to build instead, each one's text by its path: a Dockerfile, and what it copies.
    Default: `context`."""
    frontend: Frontend = "dockerfile.v0"
    """What reads the build's definition: `dockerfile.v0`, or `gateway.v0` with the image of another
    one as `options.source`."""
    dockerfile: Path = "Dockerfile"
    """Path of the Dockerfile in the context."""
    options: dict[AttributeName, Text] = {}
    """Further options of the frontend, by name, as `no-cache`. Default: none."""
    target: Text | None = None
    """Stage to build. Default: the last one."""
    build_args: dict[ArgumentName, Text] = {}
    """Build arguments, by name. Default: none."""
    platforms: list[Platform] = []
    """Platforms to build for. Default: the node's."""
    outputs: list[Attributes] = []
    """What becomes of the result, each as `{type: image, name: IMAGE, push: true}`."""
    cache_from: list[Attributes] = []
    """Caches to take from, each as `{type: registry, ref: IMAGE}`."""
    cache_to: list[Attributes] = []
    """Caches to fill, each as `{type: registry, ref: IMAGE, mode: max}`."""
    secrets: dict[SecretId, BuildSecretSettings] = {}
    """Secrets that build steps may mount, by ID. Default: none."""
    registry_credentials: ObjectName | None = None
    """Secret of type `kubernetes.io/dockerconfigjson` for pulling and pushing. Default: none."""
    backoff_limit: Retries = 0
    """How often a failed build is tried again."""
    deadline: Deadline = 3600
    """How long all tries together may take, in seconds."""
    ttl: Keeping | None = None
    """A Job that has ended is deleted after so many seconds, and then runs again at the next
    `pulumi up` after a `pulumi refresh`. Default: it is kept."""
