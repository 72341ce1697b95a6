"""The keys of the gateway."""

from typing import Annotated, Any

from pulumi_buildkit import ENVOY_IMAGE, ExternalTrafficPolicy, Protocol, ServiceType
from pulumi_buildkit.gateway import KEEPALIVE, KEEPALIVE_TIMEOUT, SPREAD
from pydantic import BeforeValidator

from settings.daemon import ResourceSettings
from settings.section import Section
from settings.values import (
    Host,
    Image,
    Keepalive,
    KeepaliveTimeout,
    Label,
    Network,
    NodePort,
    Port,
    Replicas,
    Seconds,
)


def _null_is_nothing(value: object) -> object:
    """Null as what is asked for explicitly: the defaults hold for what is left out."""
    nothing = {"requests": {"cpu": "0", "memory": "0"}, "limits": {"memory": "0"}}
    return nothing if value is None else value


class GatewaySettings(Section):
    """The Envoy gateway that clients connect to."""

    enabled: bool | None = None
    """Whether there is one. Default: with `mode: deployment` and `statefulset`."""
    protocol: Protocol = Protocol.HTTP2
    """What the gateway sees in a client's connection."""
    service: ServiceType = ServiceType.CLUSTER_IP
    """How the gateway's Service is exposed."""
    host: Host | None = None
    """Name or address that clients dial; the certificate is valid for it. It has to be given with
    `service: NodePort` and `LoadBalancer`. Default: the Service's name in the cluster's DNS."""
    port: Port = 1234
    """Port of the gateway's Service."""
    node_port: NodePort | None = None
    """Port on every node, with `service: NodePort`. Default: one that Kubernetes chooses."""
    annotations: dict[Label, str] = {}
    """Annotations of its Service, by which clouds set up their load balancers. Default: none."""
    load_balancer_class: Label | None = None
    """Who makes the load balancer, with `service: LoadBalancer`. A load balancer never
    changes it. Default: the cluster's own."""
    source_ranges: list[Network] = []
    """Networks whose clients the load balancer lets in, with `service: LoadBalancer`. Default:
    all."""
    external_traffic_policy: ExternalTrafficPolicy | None = None
    """What a node does with connections from outside, with `service: NodePort` or `LoadBalancer`.
    Default: Kubernetes', Cluster."""
    proxy_protocol: bool = False
    """Whether a load balancer says in front of each connection who its client is, by the PROXY
    protocol. Whoever does not is refused then."""
    replicas: Replicas = 2
    """Number of gateway pods."""
    max_unavailable: Replicas = 1
    """How many of its pods may be evicted at once, as when nodes are drained."""
    spread: list[Label] = [*SPREAD]
    """Labels of nodes over whose values its pods are spread where they can be."""
    resources: Annotated[ResourceSettings, BeforeValidator(_null_is_nothing)] = ResourceSettings()
    """What each of its pods asks of its node. Default, for each of the two that is neither
    requested nor limited: requests of `100m` cpu and `128Mi` memory; and a limit of `1Gi` memory,
    or as much as is requested. null: none of them. Envoy stays within the limit: it resets the
    largest requests before it exceeds it."""
    hold: Seconds | None = None
    """How long a build waits for a ready buildkitd, in seconds. Default: 600; where a new pod has
    to wait for the builds of the old one, two minutes more than `drain.timeout`."""
    keepalive: Keepalive = KEEPALIVE
    """How often a client is asked whether it is there, in seconds, so that nothing on the way takes
    its connection for unused; 0: never."""
    keepalive_timeout: KeepaliveTimeout = KEEPALIVE_TIMEOUT
    """Seconds after which a connection without an answer is closed, to a client or to buildkitd.
    A shorter interruption of the network ends no build."""
    image: Image = ENVOY_IMAGE
    """Envoy's image, by tag or digest."""
    pod: dict[str, Any] = {}
    """What else its pods have, as in `buildkit:pod`; the container is `envoy`. Default: nothing."""
    service_overlay: dict[str, Any] = {}
    """What else its Service has, in the Kubernetes API's own names (`metadata`, `spec`), merged as
    in `buildkit:pod`. Default: nothing."""
