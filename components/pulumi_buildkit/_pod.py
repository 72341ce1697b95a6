"""The pod that runs buildkitd, in every security variant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _buildkitd_toml, _drain, _metrics, _script, _volumes
from pulumi_buildkit._envoy import ENVOY_IMAGE
from pulumi_buildkit._overlay_rules import Target
from pulumi_buildkit.daemon import DRAIN_TIMEOUT, DaemonArgs, OtlpProtocol, ResourcesArgs
from pulumi_buildkit.metadata import labels
from pulumi_buildkit.overlay import merged
from pulumi_buildkit.secret_layout import SecretLayout
from pulumi_buildkit.security import VARIANTS, Security, Variant

PORT = 1234
"""buildkitd's TCP port, in upstream's manifests too."""

_CONNECT_RETRIES = "60"
"""How often buildctl-daemonless.sh asks whether buildkitd is up, ever more slowly: 40 seconds in
all. Its own number makes two, which a loaded node exceeds."""

CONTAINER = "buildkitd"
"""What the container is called; overlays and `kubectl logs` know it by this name."""

LINUX = {"kubernetes.io/os": "linux"}
"""The nodes that any of the images runs on, as every pod's default."""

STORAGE = "ephemeral-storage"
"""The node's disk, as a resource."""

_CERTIFICATES = "/certs"
_WRITABLE = "writable"
_OTLP = "OTEL_EXPORTER_OTLP_TRACES_"
# A buildctl beside buildkitd would send a trace, too, and wait for a collector that is away.
UNTRACED = ("env", "-u", f"{_OTLP}ENDPOINT")


class Certificates(NamedTuple):
    """The Secret with which buildkitd listens on TCP: who may connect, and what they meet."""

    secret: pulumi.Input[str]
    layout: SecretLayout


@dataclass(frozen=True)
class Buildkitd:
    """What makes one buildkitd different from another."""

    name: str
    """Of the component."""
    daemon: DaemonArgs
    config_map: pulumi.Input[str] | None
    """`None`: it has no configuration."""
    certificates: Certificates | None
    """`None`: it listens on its Unix socket only."""


def variant(daemon: DaemonArgs) -> Variant:
    """The security variant that *daemon* asks for."""
    return VARIANTS[Security(daemon.get("security", Security.ROOTLESS))]


def image(daemon: DaemonArgs) -> pulumi.Input[str]:
    """The image that *daemon* asks for."""
    return daemon.get("image", variant(daemon).image)


def drain_timeout(daemon: DaemonArgs) -> int:
    """Seconds that a pod which is to go lets its builds run on."""
    return int(daemon.get("drain_timeout", DRAIN_TIMEOUT))


def annotations(daemon: DaemonArgs) -> dict[str, str]:
    """Those of a buildkitd's pod."""
    measured = daemon.get("metrics")
    scraped = measured is not None and measured.get("scraped", True)
    return {**_drain.UNDISTURBED, **(_metrics.SCRAPED if scraped else {})}


def resources(args: ResourcesArgs) -> k8s.core.v1.ResourceRequirementsArgs | None:
    """What a container asks of its node; `None` leaves the field out."""
    if not any(args.values()):
        return None
    return k8s.core.v1.ResourceRequirementsArgs(
        requests=args.get("requests"), limits=args.get("limits")
    )


def storing(size: str | None, daemon: DaemonArgs) -> DaemonArgs:
    """The *daemon*, which requests *size* of its node's disk unless it says itself what it needs.

    Where nodes run short, the kubelet evicts first what uses more than it requested.
    """
    own = daemon.get("resources", {})
    spec: dict[str, Any] = daemon.get("pod", {}).get("spec") or {}
    given: list[dict[str, Any]] = spec.get("containers") or []
    laid_over: list[dict[str, Any]] = [
        container.get("resources") or {}
        for container in given
        if container.get("name") == CONTAINER
    ]
    said: list[dict[str, Any]] = [
        of.get(key) or {} for of in (own, *laid_over) for key in ("requests", "limits")
    ]
    if size is None or any(STORAGE in each for each in said):
        return daemon
    return {**daemon, "resources": {**own, "requests": {**own.get("requests", {}), STORAGE: size}}}


def pod_template(
    of: Buildkitd,
    cache: str,
    volumes: Sequence[k8s.core.v1.VolumeArgs],
    metadata: k8s.meta.v1.ObjectMetaArgs | None = None,
    labels: Mapping[str, str] = MappingProxyType({}),
    affinity: k8s.core.v1.AffinityArgs | None = None,
) -> k8s.core.v1.PodTemplateSpecArgs:
    """Buildkitd with its data in the volume *cache*: one of *volumes*, or of a claim template.

    *metadata* is that of a pod that stands alone; the others have nobody's name, and may have
    further *labels*.
    """
    chosen = variant(of.daemon)
    measured = of.daemon.get("metrics")
    container = _container(
        of,
        cache,
        mounts=[] if measured is None else [_metrics.MOUNT],
        args=[
            *("--addr", chosen.socket),
            *_arguments(of),
            *([] if measured is None else _metrics.ARGUMENTS),
        ],
        ports=[k8s.core.v1.ContainerPortArgs(name="buildkitd", container_port=PORT)]
        if of.certificates
        else None,
        resources=resources(of.daemon.get("resources", {})),
        # Polls fast while buildkitd starts, so that waiting builds go on at once.
        startup_probe=_probe(
            of.daemon,
            ["buildctl", "--addr", chosen.socket, "debug", "workers"],
            period=1,
            timeout=3,
            failures=120,
        ),
        readiness_probe=k8s.core.v1.ProbeArgs(
            tcp_socket=k8s.core.v1.TCPSocketActionArgs(port=_drain.READY_PORT),
            period_seconds=1,
            failure_threshold=1,
        ),
        # Restarts a daemon that hangs, not one that a loaded node held up for a minute.
        liveness_probe=_probe(
            of.daemon, _drain.liveness(chosen.socket), period=10, timeout=30, failures=4
        ),
        lifecycle=_drain.buildkitd(chosen.socket, drain_timeout(of.daemon)),
    )
    return template(
        metadata or labelled(of.name, "buildkitd", labels, annotations=annotations(of.daemon)),
        of.daemon,
        [container],
        [*files(of), *volumes, *([] if measured is None else [_metrics.VOLUME])],
        Target.BUILDKITD,
        init_containers=None
        if measured is None
        else [_metrics.sidecar(measured.get("image", ENVOY_IMAGE), chosen.group)],
        affinity=affinity,
        termination_grace_period_seconds=_drain.grace_period(drain_timeout(of.daemon)),
    )


def proof_template(of: Buildkitd) -> k8s.core.v1.PodTemplateSpecArgs:
    """A pod that starts the very same buildkitd, asks it for its workers, and ends."""
    cache = "scratch"
    set_aside = _nothing_set_aside(of.daemon.get("resources", {}))
    alike = replace(of, daemon=_untraced(of.daemon))
    container = daemonless(alike, cache, ["debug", "workers"], set_aside)
    return template(
        labelled(f"{of.name}-proof", "proof"),
        {**of.daemon, "pod": _trial(of.daemon.get("pod", {}))},
        [container],
        [*files(of), empty_dir(cache)],
        restart_policy="Never",
    )


def probe_template(
    name: str, daemon: DaemonArgs, node: str | None
) -> k8s.core.v1.PodTemplateSpecArgs:
    """A pod that says whether a *node* can run such a buildkitd: it builds something there.

    On a node that is named it needs no room that a scheduler would look for, and no toleration.
    """
    of = Buildkitd(name, _untraced(daemon), config_map=None, certificates=None)
    cache, chosen = "scratch", variant(daemon)
    security = Security(daemon.get("security", Security.ROOTLESS)).value
    container = _container(
        of,
        cache,
        command=_script.command(
            *("sh", ("probe_node.sh",), security, chosen.socket),
            *(chosen.buildkitd, *chosen.buildkitd_args),
        ),
        resources=resources(_nothing_set_aside(daemon.get("resources", {}))),
    )
    return template(
        labelled(name, "preflight"),
        {**daemon, "pod": _trial(daemon.get("pod", {}))},
        [container],
        [*files(of), empty_dir(cache)],
        restart_policy="Never",
        node_name=node,
    )


def daemonless(
    of: Buildkitd,
    cache: str,
    arguments: Sequence[pulumi.Input[str]],
    asked: ResourcesArgs,
    environment: Mapping[str, str] = MappingProxyType({}),
    mounts: Sequence[k8s.core.v1.VolumeMountArgs] = (),
) -> k8s.core.v1.ContainerArgs:
    """A container that starts a buildkitd of its own, runs buildctl with *arguments*, and ends."""
    variables = {
        "BUILDKITD": variant(of.daemon).buildkitd,
        "BUILDKITD_FLAGS": " ".join(_arguments(of)),
        "BUILDCTL_CONNECT_RETRIES_MAX": _CONNECT_RETRIES,
        **environment,
    }
    return _container(
        of,
        cache,
        mounts,
        command=["buildctl-daemonless.sh"],
        args=[*arguments],
        env=[k8s.core.v1.EnvVarArgs(name=key, value=variables[key]) for key in variables],
        resources=resources(asked),
    )


def _nothing_set_aside(args: ResourcesArgs) -> ResourcesArgs:
    """The limits that any node has, so that it fits beside the pod that runs and in any quota."""
    limits = {
        resource: limit
        for resource, limit in args.get("limits", {}).items()
        if resource in ("cpu", "memory", "ephemeral-storage")
    }
    return {"limits": limits, "requests": dict.fromkeys(limits, "0")}


def template(
    metadata: k8s.meta.v1.ObjectMetaArgs,
    daemon: DaemonArgs,
    containers: Sequence[k8s.core.v1.ContainerArgs],
    volumes: Sequence[k8s.core.v1.VolumeArgs],
    target: Target = Target.BUILD,
    **spec: Any,
) -> k8s.core.v1.PodTemplateSpecArgs:
    """A pod that may run BuildKit in the security variant of *daemon*, with its overlay."""
    chosen = variant(daemon)
    plain = k8s.core.v1.PodTemplateSpecArgs(
        metadata=metadata,
        spec=k8s.core.v1.PodSpecArgs(
            automount_service_account_token=False,
            node_selector={**LINUX},
            host_users=chosen.host_users,
            security_context=chosen.pod_security_context,
            containers=[*containers],
            volumes=[*volumes, *([empty_dir(_WRITABLE)] if chosen.writable else [])],
            **spec,
        ),
    )
    return merged(plain, daemon.get("pod", {}), target)


def labelled(
    name: str, component: str, further: Mapping[str, str] = MappingProxyType({}), **more: Any
) -> k8s.meta.v1.ObjectMetaArgs:
    """What the pods of a *component* called *name* are found by, and *further* labels."""
    return k8s.meta.v1.ObjectMetaArgs(labels={**labels(name, component), **further}, **more)


def empty_dir(name: str, size: str | None = None) -> k8s.core.v1.VolumeArgs:
    """A volume on the node's disk that ends with its pod; more than *size* evicts the pod."""
    return k8s.core.v1.VolumeArgs(
        name=name, empty_dir=k8s.core.v1.EmptyDirVolumeSourceArgs(size_limit=size)
    )


# What of an overlay's container bears on whether buildkitd starts.
_TRIED = frozenset(
    {"name", "env", "envFrom", "image", "imagePullPolicy", "securityContext", "volumeMounts"}
)
# What keeps a pod away from the ones that run, which a trial is to precede; and what keeps it from
# ending.
_UNTRIED = frozenset({"topologySpreadConstraints", "hostNetwork", "restartPolicy"})


def _trial(overlay: dict[str, Any]) -> dict[str, Any]:
    """The *overlay* of a pod that ends: no sidecars, and nobody else's command or probes."""
    if not overlay:
        return {}
    spec: dict[str, Any] = overlay.get("spec") or {}
    given: list[dict[str, Any]] = spec.get("containers") or []
    containers = [
        {key: value for key, value in container.items() if key in _TRIED}
        for container in given
        if container.get("name") == CONTAINER
    ]
    affinity: dict[str, Any] = {**(spec.get("affinity") or {}), "podAntiAffinity": None}
    others = {key: value for key, value in spec.items() if key not in _UNTRIED}
    if before := cast("list[dict[str, Any]]", others.pop("initContainers", None) or []):
        # The sidecar of the metrics is not there.
        own = _metrics.CONTAINER
        others["initContainers"] = [each for each in before if each.get("name") != own]
    return {**overlay, "spec": {**others, "affinity": affinity, "containers": containers}}


def _arguments(of: Buildkitd) -> list[str]:
    tls = [
        *("--addr", f"tcp://0.0.0.0:{PORT}"),
        *("--tlscacert", f"{_CERTIFICATES}/ca.pem"),
        *("--tlscert", f"{_CERTIFICATES}/cert.pem"),
        *("--tlskey", f"{_CERTIFICATES}/key.pem"),
    ]
    return [
        *("--config", _buildkitd_toml.PATH),
        *(tls if of.certificates else []),
        *variant(of.daemon).buildkitd_args,
    ]


def files(of: Buildkitd) -> list[k8s.core.v1.VolumeArgs]:
    """What its container mounts besides its cache."""
    return [
        *([_volumes.certificates("certs", *of.certificates)] if of.certificates else []),
        *([] if of.config_map is None else [_volumes.config("config", of.config_map)]),
    ]


def _container(
    of: Buildkitd,
    cache: str,
    mounts: Sequence[k8s.core.v1.VolumeMountArgs] = (),
    env: Sequence[k8s.core.v1.EnvVarArgs] = (),
    **how: Any,
) -> k8s.core.v1.ContainerArgs:
    chosen = variant(of.daemon)
    required = (
        [_volumes.required_certificates("certs", *of.certificates)] if of.certificates else []
    )
    return k8s.core.v1.ContainerArgs(
        name=CONTAINER,
        image=image(of.daemon),
        env=[*env, *_traces(of.daemon), *required] or None,
        security_context=chosen.security_context,
        # What it said last is the reason that an update gives for a pod that does not start.
        termination_message_policy="FallbackToLogsOnError",
        volume_mounts=[
            *([_volumes.mount("certs", _CERTIFICATES)] if of.certificates else []),
            *(
                []
                if of.config_map is None
                else [_volumes.mount("config", _buildkitd_toml.DIRECTORY)]
            ),
            *mounts,
            *(
                k8s.core.v1.VolumeMountArgs(
                    name=_WRITABLE, mount_path=path, sub_path=path.removeprefix("/")
                )
                for path in chosen.writable
            ),
            k8s.core.v1.VolumeMountArgs(name=cache, mount_path=chosen.data_directory),
        ],
        **how,
    )


def _untraced(daemon: DaemonArgs) -> DaemonArgs:
    """The same for a trial, which a collector that is away would hold up."""
    untraced: DaemonArgs = {**daemon}
    untraced.pop("traces", None)
    return untraced


def _traces(daemon: DaemonArgs) -> list[k8s.core.v1.EnvVarArgs]:
    """The variables of https://opentelemetry.io/docs/specs/otel/protocol/exporter/."""
    if "traces" not in daemon:
        return []
    variables = {
        "ENDPOINT": daemon["traces"]["endpoint"],
        "PROTOCOL": OtlpProtocol(daemon["traces"].get("protocol", OtlpProtocol.GRPC)).value,
    }
    return [
        k8s.core.v1.EnvVarArgs(name=f"{_OTLP}{name}", value=value)
        for name, value in variables.items()
    ]


def _probe(
    daemon: DaemonArgs, command: list[str], period: int, timeout: int, failures: int
) -> k8s.core.v1.ProbeArgs:
    untraced = UNTRACED if "traces" in daemon else ()
    return k8s.core.v1.ProbeArgs(
        exec_=k8s.core.v1.ExecActionArgs(command=[*untraced, *command]),
        period_seconds=period,
        timeout_seconds=timeout,
        failure_threshold=failures,
        termination_grace_period_seconds=_drain.KILL_GRACE,
    )
