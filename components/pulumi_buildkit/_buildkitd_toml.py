"""buildkitd.toml (https://github.com/moby/buildkit/blob/master/docs/buildkitd.toml.md)."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import pulumi
import tomli_w

from pulumi_buildkit.daemon import DaemonArgs
from pulumi_buildkit.quantity import DiskSpace, disk_space, number

DIRECTORY = "/etc/buildkit"
PATH = f"{DIRECTORY}/buildkitd.toml"

# Shares of a volume. A build that runs may exceed the ceiling: garbage is collected after it.
_RESERVED, _CEILING, _FREE = 0.1, 0.8, 0.1
# What is free is free on the whole file system (util/disk of BuildKit), which for an emptyDir is
# the node's. The kubelet evicts below 10 % there, and below 15 % where it has the images, too:
# https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#hard-eviction-thresholds
_FREE_ON_NODE = DiskSpace(percentage=20)

_Values = Mapping[str, Any]


class Cache(NamedTuple):
    """The volume of the cache."""

    size: str | None
    """A quantity; nothing where it has no limit."""
    on_node: bool
    """Whether it is a part of the node's disk, and no disk of its own."""


def files(daemon: DaemonArgs, cache: Cache) -> pulumi.Output[dict[str, str]]:
    """The files of `DIRECTORY`, by name."""
    resolved = cast("pulumi.Output[_Values]", pulumi.Output.from_input(daemon))
    return resolved.apply(
        lambda values: {
            "buildkitd.toml": tomli_w.dumps(_canonical(_document(values, cache))),
            **{
                _ca_file(host): registry["ca"]
                for host, registry in _registries(values).items()
                if registry.get("ca")
            },
        }
    )


def _document(values: _Values, cache: Cache) -> dict[str, Any]:
    worker = {**_parallelism(values), **_garbage_collection(values, cache)}
    registries = {host: _registry(host, how) for host, how in _registries(values).items()}
    made: dict[str, Any] = {
        **({"worker": {"oci": worker}} if worker else {}),
        **({"registry": registries} if registries else {}),
    }
    return merged(made, _section(values, "config"))


def merged(below: _Values, above: _Values) -> dict[str, Any]:
    """*below* with *above* laid over it, table by table."""
    return {
        **below,
        **{
            key: merged(cast("_Values", below[key]), cast("_Values", value))
            if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
            else value
            for key, value in above.items()
        },
    }


def _canonical(value: Any) -> Any:
    """*value* as it is in any language: others send all numbers as floats, and maps unordered.

    A file in another order would be another file, and roll the pods.
    """
    if isinstance(value, Mapping):
        table = cast("_Values", value)
        return {key: _canonical(table[key]) for key in sorted(table)}
    if isinstance(value, list):
        return [_canonical(item) for item in cast("list[Any]", value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _section(values: _Values, key: str) -> dict[str, Any]:
    return cast("dict[str, Any]", values.get(key) or {})


def _registries(values: _Values) -> dict[str, _Values]:
    return _section(values, "registries")


def _registry(host: str, how: _Values) -> dict[str, Any]:
    plain = {key: value for key, value in how.items() if key != "ca" and value is not None}
    return {**plain, "ca": [f"{DIRECTORY}/{_ca_file(host)}"]} if how.get("ca") else plain


def _ca_file(host: str) -> str:
    # A ConfigMap's keys have no colons and no brackets.
    return f"ca-{re.sub('[^a-zA-Z0-9.-]', '_', host)}.pem"


def _parallelism(values: _Values) -> dict[str, int]:
    given = values.get("max_parallelism")
    cpus = _section(_section(values, "resources"), "limits").get("cpu")
    if given is None and cpus is None:
        return {}
    return {"max-parallelism": math.ceil(number(str(cpus))) if given is None else int(given)}


def _garbage_collection(values: _Values, cache: Cache) -> dict[str, str]:
    given = _section(values, "garbage_collection")
    sizes = {
        key: disk_space(given[name]) if given.get(name) else default
        for key, (name, default) in _defaults(cache).items()
    }
    return {key: str(size) for key, size in sizes.items() if size is not None}


def _defaults(cache: Cache) -> dict[str, tuple[str, DiskSpace | None]]:
    """Each limit with its argument, and what holds without it; nothing is buildkitd's own."""

    def share(of: float) -> DiskSpace | None:
        return None if cache.size is None else DiskSpace(int(float(number(cache.size)) * of))

    free = _FREE_ON_NODE if cache.size and cache.on_node else share(_FREE)
    return {
        "reservedSpace": ("reserved_space", share(_RESERVED)),
        "maxUsedSpace": ("max_used_space", share(_CEILING)),
        "minFreeSpace": ("min_free_space", free),
    }
