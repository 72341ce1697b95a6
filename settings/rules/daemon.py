"""Registries and sizes that fit together."""

from collections.abc import Iterator

from pulumi_buildkit.volume import VolumeKind
from pydantic.alias_generators import to_camel

from settings.mistakes import Mistake
from settings.quantities import disk_space, number
from settings.rules.rule import Rule
from settings.stack import Settings


def _plain_http(settings: Settings) -> Iterator[Mistake]:
    for host, how in settings.registries.items():
        for key in ("insecure", "ca"):
            if how.http and getattr(how, key):
                yield Mistake(
                    ("registries", host, key),
                    "is of TLS, and http is true; take one of them away",
                )


def _volume(settings: Settings) -> Iterator[Mistake]:
    if settings.volume_kind is VolumeKind.EMPTY_DIR:
        for name in ("storage_class", "protect"):
            if settings.volume.gives(name):
                yield Mistake(
                    ("volume", to_camel(name)),
                    "is of claims, and the volume is an emptyDir; take it away, or set "
                    "volume.kind: claim",
                    getattr(settings.volume, name),
                )


def _reserved(settings: Settings) -> Iterator[Mistake]:
    of = settings.garbage_collection
    reserved, most = of.reserved_space, of.max_used_space
    if reserved and most and _exceeds(reserved, most):
        yield Mistake(
            ("garbageCollection", "reservedSpace"),
            f"is more than maxUsedSpace, {most}; take less",
            reserved,
        )


def _exceeds(size: str, limit: str) -> bool:
    """Whether *size* is more than *limit*, if that can be told without the disk; 0 is no limit."""
    small, large = disk_space(size), disk_space(limit)
    either = small.bytes > large.bytes > 0, small.percentage > large.percentage > 0
    return any(either)


def _within_the_volume(settings: Settings) -> Iterator[Mistake]:
    of, whole = settings.garbage_collection, settings.volume_size
    # What is kept free is free on the file system, of which an emptyDir is a part.
    on_node = settings.volume_kind is VolumeKind.EMPTY_DIR
    for name in ("reserved_space", "max_used_space", *([] if on_node else ["min_free_space"])):
        size = getattr(of, name)
        if whole and size and disk_space(size).bytes > number(whole):
            yield Mistake(
                ("garbageCollection", to_camel(name)),
                f"is more than the volume, whose size is {whole}; take less, or a larger volume",
                size,
            )


RULES = (
    Rule(("registries",), _plain_http),
    Rule(("mode", "volume"), _volume),
    Rule(("garbageCollection",), _reserved),
    Rule(("garbageCollection", "mode", "volume.kind", "volume.size"), _within_the_volume),
)
