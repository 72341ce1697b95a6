"""A build as the arguments of `buildctl`, and the volumes with the files that they name."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _volumes
from pulumi_buildkit.build import BuildArgs, SecretKeyArgs

CREDENTIALS = "/docker"
"""Where `registry_credentials` are: the value of $DOCKER_CONFIG."""

_CONFIG_JSON = ".dockerconfigjson"
_READABLE = 0o440  # for the pod's user and its group
_WORKSPACE = "/workspace"
_SECRETS = "/secrets"

# All maps are sorted: other languages send them in an order that differs from run to run, and
# arguments in another order would be another Job.


@dataclass(frozen=True)
class Mounted:
    """A volume, and where the container sees it."""

    volume: k8s.core.v1.VolumeArgs
    mounts: Sequence[k8s.core.v1.VolumeMountArgs]


def problems(build: BuildArgs) -> list[str]:
    """What is wrong with *build*, a line each."""
    given = [key for key in ("context", "files") if build.get(key)]
    return [
        *([] if len(given) == 1 else [_CONTEXTS[bool(given)]]),
        *(
            f"files: {path!r} can't be mounted as a file; name each from the context's root, as "
            "src/main.c, and no file like another's directory"
            for path in sorted(build.get("files", {}))
            if not _is_mountable(path, build.get("files", {}))
        ),
    ]


_CONTEXTS = {
    False: "context and files are missing; give one of them",
    True: "context and files are given both; take one of them away",
}


def _is_mountable(path: str, paths: Iterable[str]) -> bool:
    is_relative = not {"", ".", ".."}.intersection(path.split("/"))
    is_directory = any(other.startswith(f"{path}/") for other in paths)
    # Kubernetes takes no colon in the path of a mount.
    return is_relative and not is_directory and ":" not in path


def arguments(build: BuildArgs) -> list[pulumi.Input[str]]:
    """The command line of *build*."""
    return [
        *("build", "--progress", "plain"),
        *("--frontend", build.get("frontend", "dockerfile.v0")),
        *_each("--opt", _options(build)),
        *_each("--local", _locals(build)),
        *_each("--output", map(_csv, build.get("outputs", []))),
        *_each("--import-cache", map(_csv, build.get("cache_from", []))),
        *_each("--export-cache", map(_csv, build.get("cache_to", []))),
        *_each("--secret", _secrets(build)),
    ]


def files(build: BuildArgs) -> dict[str, pulumi.Input[str]]:
    """The ConfigMap of *build*'s files. Its keys can't be paths, which have slashes."""
    texts = build.get("files", {})
    return {key: texts[path] for path, key in _keys(build).items()}


def volumes(build: BuildArgs, config_map: pulumi.Input[str]) -> list[Mounted]:
    """All that *arguments* name, the files being in *config_map*."""
    return [*_workspace(build, config_map), *_secret_files(build), *_credentials(build)]


def _each(flag: str, values: Iterable[pulumi.Input[str]]) -> Iterator[pulumi.Input[str]]:
    for value in values:
        yield flag
        # Kubernetes takes two dollars for one.
        yield pulumi.Output.from_input(value).apply(lambda text: text.replace("$", "$$"))


def _options(build: BuildArgs) -> Iterator[pulumi.Input[str]]:
    platforms = build.get("platforms")
    values: dict[str, pulumi.Input[str] | None] = {
        "context": build.get("context"),
        "filename": build.get("dockerfile"),
        "target": build.get("target"),
        "platform": pulumi.Output.all(*platforms).apply(",".join) if platforms else None,
        **{f"build-arg:{name}": value for name, value in build.get("build_args", {}).items()},
        **build.get("options", {}),
    }
    for name in sorted(values):
        value = values[name]
        if value is not None:
            yield pulumi.Output.concat(name, "=", value)


def _locals(build: BuildArgs) -> list[str]:
    names = ("context", "dockerfile") if build.get("files") else ()
    return [f"{name}={_WORKSPACE}" for name in names]


def _secrets(build: BuildArgs) -> Iterator[pulumi.Input[str]]:
    for id_, reference in sorted(build.get("secrets", {}).items()):
        path = pulumi.Output.concat(_SECRETS, "/", _path(id_, reference))
        yield _csv({"id": id_, "src": path})


def _csv(fields: Mapping[str, pulumi.Input[str]]) -> pulumi.Output[str]:
    return cast("pulumi.Output[Mapping[str, str]]", pulumi.Output.from_input(fields)).apply(_line)


def _line(fields: Mapping[str, str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(
        f"{key}={value}" for key, value in sorted(fields.items())
    )
    return line.getvalue()


def _keys(build: BuildArgs) -> dict[str, str]:
    return {path: f"file-{at}" for at, path in enumerate(sorted(build.get("files", {})))}


def _workspace(build: BuildArgs, config_map: pulumi.Input[str]) -> Iterator[Mounted]:
    # Mounted whole, a ConfigMap is a directory of links, and links are what would be built.
    mounts = [
        k8s.core.v1.VolumeMountArgs(
            name="workspace", mount_path=f"{_WORKSPACE}/{path}", sub_path=key, read_only=True
        )
        for path, key in _keys(build).items()
    ]
    if mounts:
        yield Mounted(_volumes.config("workspace", config_map), mounts)


def _secret_files(build: BuildArgs) -> Iterator[Mounted]:
    sources = [
        k8s.core.v1.VolumeProjectionArgs(
            secret=k8s.core.v1.SecretProjectionArgs(
                name=reference["secret"],
                items=[k8s.core.v1.KeyToPathArgs(key=reference["key"], path=_path(id_, reference))],
                # A pod that lacks one would wait for it in silence; buildctl says what is missing.
                optional=True,
            )
        )
        for id_, reference in sorted(build.get("secrets", {}).items())
    ]
    if sources:
        yield Mounted(
            k8s.core.v1.VolumeArgs(
                name="secrets",
                projected=k8s.core.v1.ProjectedVolumeSourceArgs(
                    sources=sources, default_mode=_READABLE
                ),
            ),
            [_volumes.mount("secrets", _SECRETS)],
        )


def _path(id_: str, reference: SecretKeyArgs) -> pulumi.Output[str]:
    # Where the Secret or its key is missing, buildctl's error is this path.
    return pulumi.Output.concat(id_, "/", reference["secret"], "/", reference["key"])


def _credentials(build: BuildArgs) -> Iterator[Mounted]:
    secret = build.get("registry_credentials")
    if secret is not None:
        yield Mounted(
            k8s.core.v1.VolumeArgs(
                name="credentials",
                secret=k8s.core.v1.SecretVolumeSourceArgs(
                    secret_name=secret,
                    items=[k8s.core.v1.KeyToPathArgs(key=_CONFIG_JSON, path="config.json")],
                    default_mode=_READABLE,
                    optional=True,
                ),
            ),
            [_volumes.mount("credentials", CREDENTIALS)],
        )
