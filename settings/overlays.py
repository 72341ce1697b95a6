"""The overlays of a stack, and what each is merged over."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import pulumi_kubernetes as k8s
from pulumi_buildkit import _pod, _workload, gateway, user_namespaces
from pulumi_buildkit._overlay_rules import Effect, Target
from pulumi_buildkit.daemon import DaemonArgs
from pulumi_buildkit.metadata import labels, metadata
from pulumi_buildkit.overlay import Conflict, conflicts
from pulumi_buildkit.secret_layout import SecretLayout
from pulumi_buildkit.security import VARIANTS
from pulumi_buildkit.volume import VolumeKind

from settings.mistakes import Mistake, Place
from settings.stack import GATEWAY, WORKLOAD, Settings

_USER_NAMESPACES = "sysctl-userns"


class Overlay(NamedTuple):
    """An overlay of a stack."""

    place: Place
    """Its key."""
    of: Callable[[Settings], dict[str, Any]]
    bases: Callable[[Settings], list[tuple[Target, object]]]
    """The objects that it is merged over, as they are without it."""
    reads: tuple[str, ...]
    """Further keys that make a difference to these."""
    is_used: Callable[[Settings], bool]
    """Whether these objects are made."""

    def conflicts(self, settings: Settings, effect: Effect) -> Iterator[Mistake]:
        """The promises that it breaks with this *effect*."""
        found: dict[Place, Conflict] = {}
        if overlay := self.of(settings):
            for target, base in self.bases(settings):
                found |= {each.path: each for each in conflicts(base, overlay, target)}
        for path, conflict in found.items():
            if conflict.effect is effect:
                yield Mistake((*self.place, *path), conflict.complaint, conflict.value)


def _buildkitd(settings: Settings) -> list[tuple[Target, object]]:
    daemon: DaemonArgs = {"security": settings.security, "drain_timeout": settings.drain.timeout}
    if settings.monitoring.buildkitd:
        daemon["metrics"] = {}
    if settings.traits.builds:
        of = _pod.Buildkitd("build", daemon, "", None)
        return [(Target.BUILD, _pod.proof_template(of))]
    listens = settings.has_gateway or settings.traits.listens
    certificates = _pod.Certificates("", SecretLayout.DAEMON) if listens else None
    of = _pod.Buildkitd(WORKLOAD, daemon, "", certificates)
    has_claim = settings.volume_kind is VolumeKind.CLAIM
    cache = VARIANTS[settings.security].cache if has_claim else WORKLOAD
    volumes = [] if has_claim else [_pod.empty_dir(cache)]
    apart = _workload.sharing(WORKLOAD) if settings.shares_a_claim else {}
    return [(Target.BUILDKITD, _pod.pod_template(of, cache, volumes, **apart))]


def _services(_: Settings) -> list[tuple[Target, object]]:
    named = metadata(WORKLOAD, "", labels(WORKLOAD, "buildkitd"))
    specs = (_workload.service_spec(WORKLOAD), _workload.headless_spec(WORKLOAD))
    return [
        (Target.BUILDKITD_SERVICE, k8s.core.v1.ServiceInitArgs(metadata=named, spec=spec))
        for spec in specs
    ]


def _gateway_args(settings: Settings) -> gateway.GatewayArgs:
    given = settings.gateway
    args: Any = {
        "namespace": "",
        "server_secret": "",
        "upstream_secret": "",
        "protocol": given.protocol,
        "drain_timeout": settings.drain.timeout,
        "spread": given.spread,
        "port": given.port,
        "node_port": given.node_port,
        "service_type": given.service,
        "load_balancer_class": given.load_balancer_class,
        "source_ranges": given.source_ranges,
        "external_traffic_policy": given.external_traffic_policy,
    }
    return cast("gateway.GatewayArgs", args)


def _gateway(settings: Settings) -> list[tuple[Target, object]]:
    return [(Target.GATEWAY, gateway.pod_template(GATEWAY, _gateway_args(settings), "", ""))]


def _gateway_service(settings: Settings) -> list[tuple[Target, object]]:
    return [(Target.GATEWAY_SERVICE, gateway.service(GATEWAY, _gateway_args(settings)))]


def _user_namespaces(_: Settings) -> list[tuple[Target, object]]:
    template = user_namespaces.pod_template(_USER_NAMESPACES, {"namespace": ""})
    return [(Target.USER_NAMESPACES, template)]


def _serves(settings: Settings) -> bool:
    return settings.serves_clients


OVERLAYS = (
    Overlay(
        ("pod",),
        lambda settings: settings.pod,
        _buildkitd,
        ("mode", "security", "drain", "monitoring", "volume.kind", "gateway.enabled"),
        lambda _: True,
    ),
    Overlay(("serviceOverlay",), lambda settings: settings.service_overlay, _services, (), _serves),
    Overlay(
        ("gateway", "pod"),
        lambda settings: settings.gateway.pod,
        _gateway,
        ("drain", "gateway.protocol", "gateway.spread"),
        lambda settings: settings.has_gateway,
    ),
    Overlay(
        ("gateway", "serviceOverlay"),
        lambda settings: settings.gateway.service_overlay,
        _gateway_service,
        ("gateway",),
        lambda settings: settings.has_gateway,
    ),
    Overlay(
        ("userNamespaces", "pod"),
        lambda settings: settings.user_namespaces.pod,
        _user_namespaces,
        (),
        lambda settings: settings.user_namespaces.enabled,
    ),
)
"""All of them."""


def used(settings: Settings) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The overlays of pods and Services that *settings* have made, by their keys."""
    for overlay in OVERLAYS:
        if overlay.is_used(settings) and (given := overlay.of(settings)):
            yield overlay.place, given
