"""What containers ask of their nodes, as Kubernetes takes it."""

from collections.abc import Iterator

from settings.daemon import ResourceSettings
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


def _requests(settings: Settings) -> Iterator[Mistake]:
    for section, of in _sections(settings).items():
        for resource, request in of.requests.items():
            place, limit = (*section, "requests", resource), of.limits.get(resource)
            if limit is not None and number(request) > number(limit):
                complaint = f"is more than its limit, {limit}; take as much at most"
                yield Mistake(place, complaint, request)
            elif resource not in _OVERCOMMITTED and (
                limit is None or number(request) != number(limit)
            ):
                complaint = "is of what Kubernetes does not share out twice; give limits the same"
                yield Mistake(place, complaint, request)


def _whole(settings: Settings) -> Iterator[Mistake]:
    for place, resource, quantity in _all_quantities(settings):
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
    for section in _sections(settings).items():
        given = [*_quantities(*section)]
        if not {"cpu", "memory"}.intersection(resource for _, resource, _ in given):
            for place, resource, quantity in given:
                if resource.startswith(_HUGE_PAGES):
                    complaint = "needs cpu or memory beside it; set one of them as well"
                    yield Mistake(place, complaint, quantity)


def _sections(settings: Settings) -> dict[Place, ResourceSettings]:
    return {
        ("resources",): settings.resources,
        ("gateway", "resources"): settings.gateway.resources,
    }


def _all_quantities(settings: Settings) -> Iterator[tuple[Place, str, str]]:
    for section in _sections(settings).items():
        yield from _quantities(*section)


def _quantities(section: Place, of: ResourceSettings) -> Iterator[tuple[Place, str, str]]:
    """Each quantity of a resource, with its place and the resource."""
    for key in ("requests", "limits"):
        for resource, quantity in getattr(of, key).items():
            yield (*section, key, resource), resource, quantity


_READ = ("resources", "gateway.resources")

RULES = tuple(Rule(_READ, rule) for rule in (_requests, _whole, _huge_pages))
