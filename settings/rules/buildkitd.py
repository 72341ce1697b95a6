"""Further keys of buildkitd.toml: that TOML can say them, and that no other key does."""

from collections.abc import Iterator
from typing import Any

from settings.buildkitd_toml import ANY_NAME, mistyped
from settings.mistakes import Mistake, Place
from settings.rules.free import leaves, unwritable
from settings.rules.rule import Rule
from settings.stack import Settings

_LARGEST = 2**63 - 1
_VARIANT = "is what the security variant sets; take it away"
_CACHE = "is where the volume is; take it away"
_LISTENERS = "is what the mode sets; take it away"
# Keys that are set here already, with what to do instead.
_TAKEN: dict[tuple[str, ...], str] = {
    ("root",): _CACHE,
    ("grpc", "address"): _LISTENERS,
    ("grpc", "tls"): _LISTENERS,
    ("worker", "oci", "rootless"): _VARIANT,
    ("worker", "oci", "noProcessSandbox"): _VARIANT,
    ("worker", "oci", "max-parallelism"): "is buildkit:maxParallelism here; set that",
    **{
        ("worker", "oci", key): f"is buildkit:garbageCollection.{key} here; set that"
        for key in ("reservedSpace", "maxUsedSpace", "minFreeSpace")
    },
    # Its older name: buildkitd passes over it where one of the others is set.
    (
        "worker",
        "oci",
        "gckeepstorage",
    ): "is buildkit:garbageCollection.reservedSpace here; set that",
    **{
        ("registry", ANY_NAME, key): f"is buildkit:registries.HOST.{key} here; set that"
        for key in ("mirrors", "http", "insecure", "ca")
    },
}


def _taken(settings: Settings) -> Iterator[Mistake]:
    for path, complaint in _TAKEN.items():
        for place in _places(settings.buildkitd, path):
            yield Mistake(("buildkitd", *place), complaint)


def _places(value: Any, path: tuple[str, ...]) -> Iterator[Place]:
    """Where *value* has a key that is as *path* says."""
    if not path:
        yield ()
    elif isinstance(value, dict):
        first, *rest = path
        for key in value if first == ANY_NAME else {first} & value.keys():
            for place in _places(value[key], tuple(rest)):
                yield (key, *place)


def _values(settings: Settings) -> Iterator[Mistake]:
    taken = {mistake.place for mistake in _taken(settings)}
    for mistake in (*_unsayable(settings), *mistyped(settings.buildkitd, ("buildkitd",))):
        # What has to go need not be right.
        if mistake.place not in taken:
            yield mistake


def _history(settings: Settings) -> Iterator[Mistake]:
    history = settings.buildkitd.get("history")
    drains = not settings.traits.builds
    if drains and isinstance(history, dict) and history.get("maxEntries") == 0:
        yield Mistake(
            ("buildkitd", "history", "maxEntries"),
            "hides the builds from a pod that waits for them before it goes; take 1 or more",
            0,
        )


def _unsayable(settings: Settings) -> Iterator[Mistake]:
    yield from unwritable(settings.buildkitd, ("buildkitd",))
    for place, value in leaves(settings.buildkitd, ("buildkitd",)):
        if value is None:
            yield Mistake(place, "is empty, which TOML can't say; take it away, or write a value")
        if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
            yield Mistake(place, "is too large for TOML; take less than 2^63", value)


RULES = (
    Rule(("buildkitd",), _taken),
    Rule(("buildkitd",), _values),
    Rule(("mode", "buildkitd"), _history),
)
