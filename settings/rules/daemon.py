"""Registries, sizes and resources that fit together."""

from collections.abc import Iterator

from pulumi_buildkit.volume import VolumeKind
from pydantic.alias_generators import to_camel

from settings.mistakes import NO_WHOLE_NUMBER, Mistake, Place
from settings.quantities import number
from settings.rules.rule import Rule
from settings.stack import Settings

_OVERCOMMITTED = ("cpu", "memory", "ephemeral-storage")
_HUGE_PAGES = "hugepages-"
# 500m of memory is half a byte, and hardly what was meant.
_BYTES = ("1", "is no whole number of bytes; write it with its unit, as 4Gi")
_UNITS = {
    "cpu": ("1n", "is less than Kubernetes counts; take more"),
    "memory": _BYTES,
    "ephemeral-storage": _BYTES,
}


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
    if reserved and most and number(reserved) > number(most):
        yield Mistake(
            ("garbageCollection", "reservedSpace"),
            f"is more than maxUsedSpace, {most}; take less",
            reserved,
        )


def _within_the_volume(settings: Settings) -> Iterator[Mistake]:
    of, whole = settings.garbage_collection, settings.volume_size
    for name in ("reserved_space", "max_used_space", "min_free_space"):
        size = getattr(of, name)
        if whole and size and number(size) > number(whole):
            yield Mistake(
                ("garbageCollection", to_camel(name)),
                f"is more than the volume, whose size is {whole}; take less, or a larger volume",
                size,
            )


def _requests(settings: Settings) -> Iterator[Mistake]:
    requests, limits = settings.resources.requests, settings.resources.limits
    for resource, request in requests.items():
        limit = limits.get(resource)
        if limit is not None and number(request) > number(limit):
            yield Mistake(
                ("resources", "requests", resource),
                f"is more than its limit, {limit}; take as much at most",
                request,
            )
        elif resource not in _OVERCOMMITTED and (limit is None or number(request) != number(limit)):
            yield Mistake(
                ("resources", "requests", resource),
                "is of what Kubernetes does not share out twice; give limits the same",
                request,
            )


def _whole(settings: Settings) -> Iterator[Mistake]:
    for place, resource, quantity in _quantities(settings):
        unit, complaint = _unit(resource)
        if number(quantity) % number(unit):
            yield Mistake(place, complaint, quantity)


def _unit(resource: str) -> tuple[str, str]:
    """What quantities of *resource* are multiples of, and what is said of others."""
    if resource.startswith(_HUGE_PAGES):
        page = resource.removeprefix(_HUGE_PAGES)
        return page, f"is no multiple of {page}; take one"
    return _UNITS.get(resource, ("1", NO_WHOLE_NUMBER))


def _huge_pages(settings: Settings) -> Iterator[Mistake]:
    given = [*_quantities(settings)]
    if not {"cpu", "memory"}.intersection(resource for _, resource, _ in given):
        for place, resource, quantity in given:
            if resource.startswith(_HUGE_PAGES):
                yield Mistake(
                    place, "needs cpu or memory beside it; set one of them as well", quantity
                )


def _quantities(settings: Settings) -> Iterator[tuple[Place, str, str]]:
    """Each quantity of a resource, with its place and the resource."""
    for key in ("requests", "limits"):
        for resource, quantity in getattr(settings.resources, key).items():
            yield ("resources", key, resource), resource, quantity


RULES = (
    Rule(("registries",), _plain_http),
    Rule(("mode", "volume"), _volume),
    Rule(("garbageCollection",), _reserved),
    Rule(("garbageCollection", "mode", "volume.kind", "volume.size"), _within_the_volume),
    Rule(("resources",), _requests),
    Rule(("resources",), _whole),
    Rule(("resources",), _huge_pages),
)
