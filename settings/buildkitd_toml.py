"""The keys of buildkitd.toml that BuildKit 0.34 knows, and what it takes as their values.

https://github.com/moby/buildkit/blob/master/docs/buildkitd.toml.md has them, cmd/buildkitd/config
all of them. Keys that are not here are another version's: they are passed on.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from settings.mistakes import (
    NO_LIST,
    NO_MAP,
    NO_TEXT,
    NO_TRUTH_VALUE,
    NO_WHOLE_NUMBER,
    Mistake,
    Place,
)


class Kind(NamedTuple):
    """A kind of value."""

    fits: Callable[[Any], object]
    complaint: str


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(value: Any) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0 <= value < _TOO_MUCH
    return isinstance(value, str) and _SIZE.fullmatch(value)


def _is_time(value: Any) -> bool:
    if _is_whole(value):
        return True
    if isinstance(value, float):
        # Written to the file as the whole number that it is.
        return value.is_integer() and abs(value) < _TOO_MUCH
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    parts = _TIME_PART.findall(value)
    return sum(float(number) * _NANOSECONDS[unit] for number, unit in parts) < _TOO_MUCH


TRUTH = Kind(lambda value: isinstance(value, bool), NO_TRUTH_VALUE)
WHOLE = Kind(_is_whole, NO_WHOLE_NUMBER)
TEXT = Kind(lambda value: isinstance(value, str), NO_TEXT)
# github.com/docker/go-units and Go's time.ParseDuration, as config/gcpolicy.go asks them.
_SIZE = re.compile(
    r"|-?\d{1,18}%|(\d+(\.\d*)?|\.\d+) ?([kmgtp](i?b)?|b)?", re.ASCII | re.IGNORECASE
)
_NANOSECONDS = {
    "ns": 1,
    "us": 1e3,
    "µs": 1e3,
    "μs": 1e3,
    "ms": 1e6,
    "s": 1e9,
    "m": 60e9,
    "h": 3600e9,
}
_TIME_PART = re.compile(rf"(\d+\.?\d*|\.\d+)({'|'.join(_NANOSECONDS)})", re.ASCII)
_TIME = re.compile(rf"|[+-]?\d{{1,18}}|[+-]?(?:{_TIME_PART.pattern})+", re.ASCII)
_TOO_MUCH = 2**63
SIZE = Kind(_is_size, "is no size; write it as 512MB, 10% or a number of bytes")
AGE = Kind(_is_time, "is no time; write it as 48h or a number of seconds")
ANY_NAME = "*"
"""Stands for every key of a map whose keys are names."""

_SPACE = {"reservedSpace": SIZE, "maxUsedSpace": SIZE, "minFreeSpace": SIZE}
_WORKER = {
    "enabled": TRUTH,
    "labels": {ANY_NAME: TEXT},
    "platforms": [TEXT],
    "snapshotter": TEXT,
    "rootless": TRUTH,
    "gc": TRUTH,
    "gckeepstorage": SIZE,
    **_SPACE,
    "gcpolicy": [
        {"all": TRUTH, "filters": [TEXT], "keepDuration": AGE, "keepBytes": SIZE, **_SPACE}
    ],
    "networkMode": TEXT,
    "cniConfigPath": TEXT,
    "cniBinaryPath": TEXT,
    "cniPoolSize": WHOLE,
    "bridgeName": TEXT,
    "bridgeSubnet": TEXT,
    "defaultCgroupParent": TEXT,
    "apparmor-profile": TEXT,
    "selinux": TRUTH,
    "max-parallelism": WHOLE,
}
KNOWN: dict[str, Any] = {
    "debug": TRUTH,
    "trace": TRUTH,
    "root": TEXT,
    "insecure-entitlements": [TEXT],
    "proxyNetwork": TRUTH,
    "provenanceEnvDir": TEXT,
    "log": {"format": TEXT, "level": TEXT},
    "grpc": {
        "address": [TEXT],
        "debugAddress": TEXT,
        "uid": WHOLE,
        "gid": WHOLE,
        "securityDescriptor": TEXT,
        "tls": {"cert": TEXT, "key": TEXT, "ca": TEXT},
    },
    "otel": {"socketPath": TEXT},
    "cdi": {"disabled": TRUTH, "specDirs": [TEXT], "autoAllowed": [TEXT]},
    "worker": {
        "oci": {
            **_WORKER,
            "noProcessSandbox": TRUTH,
            "userRemapUnsupported": TEXT,
            "binary": TEXT,
            "proxySnapshotterPath": TEXT,
            "stargzSnapshotter": {},
        },
        "containerd": {
            **_WORKER,
            "address": TEXT,
            "namespace": TEXT,
            "hypervIsolation": TRUTH,
            "runtime": {"name": TEXT, "path": TEXT, "options": {}},
        },
    },
    "registry": {
        ANY_NAME: {
            "mirrors": [TEXT],
            "http": TRUTH,
            "insecure": TRUTH,
            "ca": [TEXT],
            "keypair": [{"key": TEXT, "cert": TEXT}],
            "tlsconfigdir": [TEXT],
        }
    },
    "dns": {"nameservers": [TEXT], "options": [TEXT], "searchDomains": [TEXT]},
    "history": {"maxAge": AGE, "maxEntries": WHOLE},
    "frontend": {
        "dockerfile.v0": {"enabled": TRUTH},
        "gateway.v0": {"enabled": TRUTH, "allowedRepositories": [TEXT]},
    },
    "system": {
        "platformsCacheMaxAge": AGE,
        "maxRegistryConcurrency": WHOLE,
        "sessionAuthTimeout": AGE,
    },
    "compaction": {
        "enabled": TRUTH,
        "idleTimeout": AGE,
        "maxRetry": WHOLE,
        "writesPerCheck": WHOLE,
        "sizeWatermark": WHOLE,
        "sizeGrowthPercent": WHOLE,
        "minReclaimBytes": WHOLE,
        "minReclaimPercent": WHOLE,
        "minReclaimPercentFloor": WHOLE,
    },
    "cache": {"gha": {}},
}


def mistyped(value: Any, place: Place, kind: Any = KNOWN) -> Iterator[Mistake]:
    """What buildkitd would not start with in *value*, which stands at *place*."""
    match kind, value:
        case _, None:
            # TOML has no such value at all.
            return
        case dict(), dict():
            for key, inner in value.items():
                if known := kind.get(key, kind.get(ANY_NAME)):
                    yield from mistyped(inner, (*place, key), known)
        case dict(), _:
            yield Mistake(place, NO_MAP, value)
        case [item], list():
            for at, inner in enumerate(value):
                yield from mistyped(inner, (*place, at), item)
        case [_], _:
            yield Mistake(place, NO_LIST, value)
        case _ if not kind.fits(value):
            yield Mistake(place, kind.complaint, value)
