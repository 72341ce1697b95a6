"""All keys of a stack."""

from typing import Any, NamedTuple

from pulumi_buildkit import Protocol, Routing, Security
from pulumi_buildkit.certificates import is_address
from pulumi_buildkit.gateway import HOLD
from pulumi_buildkit.volume import CLAIM_SIZE, VolumeKind

from settings.autoscaling import AutoscalingSettings
from settings.certificates import CertificateSettings, Clients
from settings.daemon import (
    DrainSettings,
    GarbageCollectionSettings,
    RegistrySettings,
    ResourceSettings,
    VolumeSettings,
)
from settings.extent import Preflight
from settings.farm import FarmSettings
from settings.gateway import GatewaySettings
from settings.job import JobSettings
from settings.modes import MODES, Mode, Traits
from settings.monitoring import MonitoringSettings, TracesSettings
from settings.network_policies import NetworkPolicySettings
from settings.nodes import UserNamespaceSettings
from settings.section import Section
from settings.values import Image, Name, Parallelism, Patience, Registry, Replicas

PROJECT = "buildkit"
WORKLOAD = "buildkitd"
"""What the daemon is called, in every mode that has one."""
GATEWAY = "buildkit-gateway"
"""What the gateway is called."""
PREFLIGHT = "preflight"
"""What the trial of the nodes is called."""
START = 120
"""Seconds from a pod's end until the next one is ready, on a bad day."""


class Scale(NamedTuple):
    """How many pods there are."""

    fewest: int
    most: int


class Settings(Section):
    """The keys of a stack, each written `buildkit:KEY`."""

    mode: Mode = Mode.DEPLOYMENT
    """How buildkitd runs."""
    security: Security = Security.ROOTLESS
    """How much of the node buildkitd may touch."""
    namespace: Name | None = None
    """Namespace to use. Default: project, stack and a random suffix."""
    create_namespace: bool = True
    """Whether to make the namespace; otherwise there has to be one of that name."""
    image: Image | None = None
    """buildkitd's image, by tag or digest, used as it is for any security variant. Default: the
    official one for the security variant."""
    replicas: Replicas = 1
    """Number of buildkitd pods; each has a cache of its own."""
    autoscaling: AutoscalingSettings | None = None
    """How the number of pods follows the builds. Default: it does not, `replicas` says it."""
    farm: FarmSettings | None = None
    """Several pods with a cache each, of which the gateway chooses one for each client, with
    `mode: statefulset`. Default: none; Kubernetes chooses a pod for each connection."""
    update_timeout: Patience = 600
    """How long `pulumi up` waits for pods to be ready, in seconds."""
    clients: Clients = {}
    """Who may build: a certificate is made for each name, and the gateway refuses one that is
    deleted. They have to be given where clients come by TLS."""
    gateway: GatewaySettings = GatewaySettings()
    """The Envoy gateway that clients connect to."""
    certificates: CertificateSettings = CertificateSettings()
    """The certificates of the server and its clients."""
    registries: dict[Registry, RegistrySettings] = {}
    """How to reach registries, by `host[:port]`. Default: all by HTTPS."""
    garbage_collection: GarbageCollectionSettings = GarbageCollectionSettings()
    """When buildkitd gives up cached data."""
    max_parallelism: Parallelism | None = None
    """How many build steps run at once in a pod. Default: the CPU limit, rounded up; without one no
    limit."""
    buildkitd: dict[str, Any] = {}
    """Further keys of buildkitd.toml, as BuildKit calls them. Default: none."""
    resources: ResourceSettings = ResourceSettings()
    """What buildkitd's container asks of its node."""
    drain: DrainSettings = DrainSettings()
    """How a pod that is to go lets its builds end."""
    volume: VolumeSettings = VolumeSettings()
    """Where each buildkitd pod keeps its cache."""
    monitoring: MonitoringSettings = MonitoringSettings()
    """What Prometheus and Grafana see of it."""
    traces: TracesSettings | None = None
    """Where buildkitd sends what its builds spent their time on. Default: nowhere."""
    pod: dict[str, Any] = {}
    """What else its pods have, in the Kubernetes API's own names (`metadata`, `spec`), merged over
    what they have here as `kubectl patch` does. Default: nothing."""
    service_overlay: dict[str, Any] = {}
    """What else buildkitd's Services have, in the same names, merged in the same way, as
    `spec: {ipFamilyPolicy: PreferDualStack}`. Default: nothing."""
    job: JobSettings | None = None
    """The build of `mode: job`. Default: none."""
    network_policies: NetworkPolicySettings = NetworkPolicySettings()
    """Who reaches buildkitd and its gateway, and what builds reach."""
    user_namespaces: UserNamespaceSettings = UserNamespaceSettings()
    """User namespaces on nodes that forbid them."""
    preflight: Preflight = Preflight.CLUSTER
    """What is looked at before anything is made."""

    @property
    def traits(self) -> Traits:
        """What goes with the mode."""
        return MODES[self.mode]

    @property
    def has_gateway(self) -> bool:
        """Whether clients come by a gateway."""
        enabled = self.gateway.enabled
        return bool(self.traits.gateway) if enabled is None else enabled

    @property
    def sees_requests(self) -> bool:
        """Whether there is a gateway that sees more of its clients than bytes."""
        return self.has_gateway and self.gateway.protocol is Protocol.HTTP2

    @property
    def serves_clients(self) -> bool:
        """Whether clients come by TLS, at the gateway or at buildkitd."""
        return self.has_gateway or self.traits.listens

    @property
    def longest_gap(self) -> int:
        """Seconds that new builds may have to wait for a pod; 0 where another one takes them."""
        in_turn = not self.traits.surges or self.volume_kind is VolumeKind.CLAIM
        if self.scale.fewest > in_turn:
            return 0
        return self.drain.timeout * in_turn + START

    @property
    def scale(self) -> Scale:
        """How many pods there are."""
        if self.farm:
            return Scale(self.farm.replicas.min, self.farm.replicas.max)
        if self.autoscaling:
            fewest, most = self.autoscaling.min, self.autoscaling.max
            return Scale(0 if fewest is None else fewest, 1 if most is None else most)
        return Scale(self.replicas, self.replicas)

    @property
    def domain(self) -> str | None:
        """Below which each project has a name of its own; nothing where names mean nothing."""
        host = self.gateway.host
        names = self.farm and self.farm.routing is Routing.HOST_NAME
        return host if names and host and not is_address(host) else None

    @property
    def follows_builds(self) -> bool:
        """Whether their number is KEDA's."""
        return self.autoscaling is not None or self.scale.fewest != self.scale.most

    @property
    def hold(self) -> int:
        """Seconds that a build waits at the gateway."""
        given = self.gateway.hold
        return max(HOLD, self.longest_gap) if given is None else given

    @property
    def volume_kind(self) -> VolumeKind | None:
        """What holds the cache; nothing where no cache outlives a build."""
        return self.volume.kind or next(iter(self.traits.volumes), None)

    @property
    def shares_a_claim(self) -> bool:
        """Whether all pods would have the same claim."""
        return self.traits.shared_claim and self.volume_kind is VolumeKind.CLAIM

    @property
    def volume_size(self) -> str | None:
        """The size of what holds the cache; nothing where it has no limit."""
        default = CLAIM_SIZE if self.volume_kind is VolumeKind.CLAIM else None
        return self.volume.size or default
