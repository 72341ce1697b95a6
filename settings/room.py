"""Whether any node has room for what a stack's pods ask for."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, cast

from pulumi_buildkit._pod import CONTAINER, STORAGE, storing
from pulumi_buildkit.quantity import number
from pulumi_buildkit.volume import VolumeKind

from settings import placement
from settings.daemon import ResourceSettings
from settings.mistakes import Place
from settings.stack import Settings

Complaint = tuple[Place, str, object]
"""A key, what is wrong with its value, and the value."""


def is_asked_for(settings: Settings) -> bool:
    """Whether the stack says how much its pods need."""
    return any(placement.requests(*pod.containers) for pod in _pods(settings))


def is_requested(settings: Settings, resource: str) -> bool:
    """Whether the stack requests a *resource* for buildkitd's container, or for all of its pod."""
    buildkitd = next(_pods(settings))
    of_pod = {"resources": buildkitd.spec.get("resources")}
    return resource in placement.requests(buildkitd.containers[0], of_pod)


def complaints(settings: Settings, nodes: Sequence[Any]) -> Iterator[Complaint]:
    """What is asked for and none of *nodes* has that the pod in question may be put on."""
    for pod in _pods(settings):
        asked = placement.requests(*pod.containers)
        possible = placement.candidates(nodes, pod.spec)
        # Some clusters have no node until they need one: then there is nothing to compare with.
        if possible and not any(placement.has_room(node, asked) for node in possible):
            yield from _complaints(pod, asked, possible)


def unschedulable(settings: Settings, nodes: Sequence[Any]) -> Iterator[Complaint]:
    """The pods that none of *nodes* takes, however much room it has."""
    for pod in _pods(settings):
        if nodes and not placement.candidates(nodes, pod.spec):
            yield (
                pod.overlay,
                "no node takes these pods: each is cordoned, lacks a label of nodeSelector or "
                "affinity, or has a taint that they do not tolerate. Unless nodes are added, they "
                "stay Pending. Change nodeSelector, affinity or tolerations.",
                None,
            )


class _Pod(NamedTuple):
    """What a stack says of one of its pods."""

    section: Place
    own: ResourceSettings
    overlay: Place
    containers: Sequence[placement.Spec]
    spec: placement.Spec
    stored: str | None = None
    """The size of an emptyDir that is requested for it."""

    def key(self, resource: str) -> tuple[Place, str | None]:
        """Where a *resource* is asked for, and what stands there; else it is of the overlay."""
        for key in ("requests", "limits"):
            if resource in (given := getattr(self.own, key)):
                return (*self.section, key, resource), given[resource]
        if resource == STORAGE and self.stored:
            return ("volume", "size"), self.stored
        return self.overlay, None


def _pods(settings: Settings) -> Iterator[_Pod]:
    size = settings.volume.size if settings.volume_kind is VolumeKind.EMPTY_DIR else None
    yield _pod(("resources",), settings.resources, ("pod",), settings.pod, CONTAINER, size)
    if settings.has_gateway:
        of = settings.gateway
        overlay = ("gateway", "pod")
        yield _pod(("gateway", "resources"), of.resources, overlay, of.pod, "envoy")


def _pod(
    section: Place,
    own: ResourceSettings,
    place: Place,
    overlay: dict[str, Any],
    container: str,
    size: str | None = None,
) -> _Pod:
    """The pod whose *container* has its *own* resources, with the *overlay* at *place*.

    Its cache is an emptyDir of that *size*; none: it has no limit, or is no emptyDir.
    """
    spec = overlay.get("spec") or {}
    by_name = {each.get("name"): each for each in spec.get("containers") or ()}
    laid_over = by_name.pop(container, {}).get("resources") or {}
    daemon: Any = {"resources": own.model_dump(), "pod": overlay}
    asked = cast("dict[str, dict[str, Any]]", storing(size, daemon).get("resources"))
    merged = {key: {**asked[key], **(laid_over.get(key) or {})} for key in ("requests", "limits")}
    containers = [{"resources": merged}, *by_name.values()]
    return _Pod(section, own, place, containers, spec, asked["requests"].get(STORAGE))


def _complaints(
    pod: _Pod, asked: Mapping[str, Decimal], nodes: Sequence[Any]
) -> Iterator[Complaint]:
    do = "take less, or add a node that has it: pods would wait for one"
    alone = [r for r in asked if not any(placement.has_room(n, {r: asked[r]}) for n in nodes)]
    for resource in alone:
        place, value = pod.key(resource)
        others = (
            ""
            if value and number(value) == asked[resource]
            else (f", with the other containers of its pod {asked[resource]:f} of {resource},")
        )
        node, there = placement.most(nodes, resource)
        yield (
            place,
            f"is{others} more than any node has that its pods may run on; {node} has the most, "
            f"{there}; {do}",
            value,
        )
    if not alone:
        together = ", ".join(f"{name} {pod.key(name)[1] or asked[name]}" for name in asked)
        yield (
            pod.section,
            f"is more than any one node has that its pods may run on ({together}); {do}",
            None,
        )
