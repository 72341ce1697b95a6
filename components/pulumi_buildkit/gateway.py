"""Envoy with mTLS in front of buildkitd."""

import json
from enum import Enum
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _drain, _envoy, _metrics, _pod, _volumes, _xds, quantity
from pulumi_buildkit._envoy import (
    ENVOY_IMAGE,
    ENVOY_OPTIONS,
    ENVOY_USER,
    KEEPALIVE_TIMEOUT,
    Protocol,
)
from pulumi_buildkit._farm import Farm, Routing
from pulumi_buildkit._options import reaching_children
from pulumi_buildkit._overlay_rules import Target
from pulumi_buildkit._rollout import SURGE, TIMEOUT, awaited, rolling_config
from pulumi_buildkit._workload import service_host
from pulumi_buildkit.certificates import client_uri
from pulumi_buildkit.daemon import DRAIN_TIMEOUT, ResourcesArgs
from pulumi_buildkit.metadata import labels, metadata, selector
from pulumi_buildkit.overlay import merged
from pulumi_buildkit.role import Role
from pulumi_buildkit.secret_layout import SecretLayout

HOLD = 600
"""Seconds that a build waits for a buildkitd to be ready when nobody says."""
KEEPALIVE = 30
"""Seconds from one question to a client, whether it is there, to the next when nobody says."""

SPREAD = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
"""Labels of nodes over whose values the pods are spread when nobody says."""

# Without any, its pods are the first that a node kills or evicts, and all their builds end.
_REQUESTS = {"cpu": "100m", "memory": "128Mi"}
# More than any that was seen: what clients send by mistake, or on purpose, takes no more of a node.
_MEMORY = "1Gi"

# Seconds in which the nodes learn of a pod that is ready: then clients reach it.
_SEEN = 2


class ServiceType(str, Enum):
    """How the gateway's Service is exposed (https://kubernetes.io/docs/concepts/services-networking/service/)."""

    CLUSTER_IP = "ClusterIP"
    """Inside the cluster, and by `kubectl port-forward`."""
    NODE_PORT = "NodePort"
    """On a port of every node."""
    LOAD_BALANCER = "LoadBalancer"
    """By the cloud's load balancer."""


class ExternalTrafficPolicy(str, Enum):
    """What a node does with connections from outside (https://kubernetes.io/docs/reference/networking/virtual-ips/#external-traffic-policy)."""

    CLUSTER = "Cluster"
    """Passes them on to any pod; the gateway sees the node's address for the client's."""
    LOCAL = "Local"
    """Passes them on to its own pods only; the gateway sees the client's address."""


class ClientArgs(TypedDict):
    """One client of a gateway."""

    san: NotRequired[str]
    """Subject alternative name by which its certificate is known: a URI, a DNS name or an IP
    address. Default: the URI that `Certificates` gives it, `spiffe://buildkit/client/NAME`."""
    role: NotRequired[Role]
    """What it may do, with protocol http2. Default: builder."""


class GatewayArgs(TypedDict):
    """Arguments of `Gateway`."""

    namespace: pulumi.Input[str]
    """Namespace of everything in it."""
    upstream_host: pulumi.Input[str]
    """Name of buildkitd's ClusterIP Service, in its certificate too. Never a headless one."""
    upstream_port: NotRequired[int]
    """Port of that Service. Default: 1234."""
    pods: NotRequired[pulumi.Input[list[str]]]
    """Names of buildkitd's pods in the cluster's DNS, of all that there may be, as the output
    `hosts` of a BuildkitStatefulSet; with protocol http2. The gateway chooses one for each client.
    Default: none, Kubernetes chooses one of the Service's."""
    routing: NotRequired[Routing]
    """Which of the `pods` a client meets. Default: hostName."""
    upstream_secret: pulumi.Input[str]
    """Secret with buildkitd's ca.pem, and the cert.pem and key.pem that the gateway shows it: a
    client's of `Certificates`."""
    server_secret: pulumi.Input[str]
    """Secret with the clients' CA, and the certificate and key shown to them."""
    server_secret_layout: NotRequired[SecretLayout]
    """The keys of that Secret. Default: envoy."""
    clients: dict[str, ClientArgs]
    """The clients that may connect, by name; one that is taken away is refused."""
    protocol: NotRequired[Protocol]
    """What it sees in a client's connection. Default: http2."""
    hold: NotRequired[int]
    """How long a build waits for a buildkitd to be ready, in seconds. Default: 600."""
    host: NotRequired[pulumi.Input[str]]
    """Name or address that clients dial. Default: the Service's name in the cluster's DNS."""
    port: NotRequired[int]
    """Port of its Service. Default: 1234."""
    service_type: NotRequired[ServiceType]
    """How its Service is exposed. Default: ClusterIP."""
    node_port: NotRequired[int | None]
    """Port on the nodes, with NodePort. Default: one that Kubernetes chooses."""
    annotations: NotRequired[dict[str, pulumi.Input[str]]]
    """Annotations of its Service, by which clouds set up their load balancers. Default: none."""
    load_balancer_class: NotRequired[str | None]
    """Who makes the load balancer, with LoadBalancer. A Service that is one never changes it: make
    it a ClusterIP first. Default: the cluster's own."""
    source_ranges: NotRequired[list[str]]
    """Networks whose clients the load balancer lets in, with LoadBalancer, as 192.0.2.0/24.
    Default: all."""
    external_traffic_policy: NotRequired[ExternalTrafficPolicy | None]
    """What a node does with connections from outside, with NodePort and LoadBalancer. Default:
    Kubernetes', Cluster."""
    proxy_protocol: NotRequired[bool]
    """Whether a load balancer says in front of each connection who its client is, by the PROXY
    protocol. Whoever does not is refused then. Default: false."""
    image: NotRequired[pulumi.Input[str]]
    """Envoy's image. Default: `ENVOY_IMAGE`."""
    replicas: NotRequired[int]
    """Number of gateway pods. Default: 2."""
    max_unavailable: NotRequired[int]
    """How many of its pods may be evicted at once, as when nodes are drained. Default: 1."""
    spread: NotRequired[list[str]]
    """Labels of nodes over whose values its pods are spread where they can be. Default: nodes
    and zones."""
    resources: NotRequired[ResourcesArgs]
    """What each of its pods asks of its node. Default, for each of the two that is neither
    requested nor limited: requests of 100m cpu and 128Mi memory; and a limit of 1Gi memory, or as
    much as is requested. `0` is none. Envoy stays within the limit: it resets the largest requests
    before it exceeds it."""
    keepalive: NotRequired[int]
    """How often a client is asked whether it is there, in seconds; that also keeps the idle timers
    of what is in between from running out. 0: never. Default: 30."""
    keepalive_timeout: NotRequired[int]
    """Seconds after which a connection without an answer is closed, to a client or to buildkitd.
    A shorter interruption of the network ends no build. Default: 90."""
    scraped: NotRequired[bool]
    """Whether its pods are annotated for a Prometheus that finds what it asks by the annotations
    `prometheus.io/scrape`, `port` and `path`. Default: true."""
    drain_timeout: NotRequired[int]
    """How long a gateway pod that is to go lets the builds that pass through it run on, in seconds.
    Default: 1800."""
    pod: NotRequired[dict[str, Any]]
    """A pod template in the Kubernetes API's own names, `{metadata: …, spec: …}`, merged over the
    gateway's as `kubectl patch` does (strategic merge). Its container is `envoy`. Default: empty.
    """
    service_overlay: NotRequired[dict[str, Any]]
    """A Service in the same names, merged over the gateway's in the same way, for what has no
    argument of its own, as `{spec: {ipFamilyPolicy: PreferDualStack}}`. Default: empty."""
    update_timeout: NotRequired[int]
    """How long an update waits for the pods to be ready, in seconds. Default: 600."""


class Gateway(pulumi.ComponentResource):
    """Lets named clients in, holds their builds while buildkitd is away, passes them on by mTLS.

    Certificates and the list of clients change under a running Envoy (files that it watches);
    everything else rolls its pods.
    """

    endpoint: pulumi.Output[str]
    """What clients dial, `host:port`."""

    def __init__(
        self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Make the configuration, the Deployment, its disruption budget and the Service.

        Raises:
            ValueError: there is no client, `pods` come without protocol http2, or an overlay breaks
                what the gateway promises.
        """
        super().__init__("buildkit:index:Gateway", name, {}, reaching_children(opts))
        if not args["clients"]:
            # Envoy takes an empty list of names for "any name".
            raise ValueError(f"{name}: clients: there are none; name at least one client")
        if args.get("pods", []) != [] and _protocol(args) is not Protocol.HTTP2:
            raise ValueError(f"{name}: pods: they are chosen by protocol http2 only; take it")
        self._name = name
        self._args = args
        self._deployment(self._bootstrap(), self._documents())
        self._disruption_budget()
        self.endpoint = self._endpoint(self._service())
        self.register_outputs({"endpoint": self.endpoint})

    def _bootstrap(self) -> pulumi.Output[str]:
        args = self._args
        memory = _limits(args.get("resources", {}))["memory"]
        config = pulumi.Output.all(args["upstream_host"], args.get("pods", []), memory).apply(
            lambda known: _json(
                _envoy.bootstrap(
                    _protocol(args),
                    _upstream(args, *known[:2]),
                    _envoy.Downstream(
                        int(args.get("hold", HOLD)),
                        int(args.get("keepalive", KEEPALIVE)),
                        int(args.get("keepalive_timeout", KEEPALIVE_TIMEOUT)),
                        bool(args.get("proxy_protocol")),
                    ),
                    int(quantity.number(known[2])),
                )
            )
        )
        return rolling_config(
            self, f"{self._name}-bootstrap", self._metadata(None), {"envoy.json": config}
        )

    def _documents(self) -> k8s.core.v1.ConfigMap:
        # Other languages send maps in an order that differs from run to run.
        clients = [
            _xds.Client(client.get("san", client_uri(name)), Role(client.get("role", Role.BUILDER)))
            for name, client in sorted(self._args["clients"].items())
        ]
        documents = pulumi.Output.from_input(self._args["upstream_host"]).apply(
            lambda host: {
                file: _json(document) for file, document in _xds.documents(clients, host).items()
            }
        )
        name = f"{self._name}-xds"
        # A stable name: a change reaches the running Envoy.
        return k8s.core.v1.ConfigMap(
            name,
            metadata=self._metadata(name),
            data=documents,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _deployment(
        self, bootstrap: pulumi.Input[str], documents: k8s.core.v1.ConfigMap
    ) -> k8s.apps.v1.Deployment:
        return k8s.apps.v1.Deployment(
            self._name,
            metadata=self._metadata(self._name),
            spec=k8s.apps.v1.DeploymentSpecArgs(
                replicas=int(self._args.get("replicas", 2)),
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(self._name)),
                strategy=SURGE,
                min_ready_seconds=_SEEN,
                template=merged(
                    pod_template(
                        self._name, self._args, bootstrap, documents.metadata.name.apply(str)
                    ),
                    self._args.get("pod", {}),
                    Target.GATEWAY,
                ),
            ),
            opts=awaited(
                self,
                int(self._args.get("update_timeout", TIMEOUT)),
                _drain.grace_period(_drain_timeout(self._args)),
            ),
        )

    def _disruption_budget(self) -> k8s.policy.v1.PodDisruptionBudget:
        return k8s.policy.v1.PodDisruptionBudget(
            self._name,
            metadata=self._metadata(self._name),
            spec=k8s.policy.v1.PodDisruptionBudgetSpecArgs(
                max_unavailable=int(self._args.get("max_unavailable", 1)),
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(self._name)),
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _service(self) -> k8s.core.v1.Service:
        return k8s.core.v1.Service(
            self._name,
            merged(
                service(self._name, self._args),
                self._args.get("service_overlay", {}),
                Target.GATEWAY_SERVICE,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _endpoint(self, service: k8s.core.v1.Service) -> pulumi.Output[str]:
        args = self._args
        host = pulumi.Output.from_input(
            args.get("host", service_host(self._name, args["namespace"]))
        ).apply(lambda host: f"[{host}]" if ":" in host else host)
        exposed = _exposed(args)
        port = service.spec.ports[0].apply(
            lambda port: port.node_port if exposed is ServiceType.NODE_PORT else port.port
        )
        return pulumi.Output.format("{0}:{1}", host, port)

    def _metadata(self, name: str | None) -> k8s.meta.v1.ObjectMetaArgs:
        return metadata(name, self._args["namespace"], labels(self._name, "gateway"))


def pod_template(
    name: str, args: GatewayArgs, bootstrap: pulumi.Input[str], documents: pulumi.Input[str]
) -> k8s.core.v1.PodTemplateSpecArgs:
    """The pods of the gateway *name* without an overlay, with these two ConfigMaps."""
    return k8s.core.v1.PodTemplateSpecArgs(
        metadata=k8s.meta.v1.ObjectMetaArgs(
            labels=labels(name, "gateway"),
            annotations={
                **_drain.UNDISTURBED,
                **(_metrics.SCRAPED if args.get("scraped", True) else {}),
            },
        ),
        spec=k8s.core.v1.PodSpecArgs(
            automount_service_account_token=False,
            node_selector={**_pod.LINUX},
            termination_grace_period_seconds=_drain.grace_period(_drain_timeout(args)),
            security_context=k8s.core.v1.PodSecurityContextArgs(
                run_as_non_root=True,
                run_as_user=ENVOY_USER,
                run_as_group=ENVOY_USER,
                fs_group=ENVOY_USER,
                seccomp_profile=k8s.core.v1.SeccompProfileArgs(type="RuntimeDefault"),
            ),
            topology_spread_constraints=[
                k8s.core.v1.TopologySpreadConstraintArgs(
                    max_skew=1,
                    topology_key=label,
                    when_unsatisfiable="ScheduleAnyway",
                    label_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(name)),
                )
                for label in args.get("spread", SPREAD)
            ],
            containers=[_container(args)],
            volumes=[
                _volumes.config("bootstrap", bootstrap),
                _volumes.config("xds", documents),
                _volumes.certificates("server", args["server_secret"], _layout(args)),
                _volumes.certificates("upstream", args["upstream_secret"], SecretLayout.DAEMON),
            ],
        ),
    )


def service(name: str, args: GatewayArgs) -> k8s.core.v1.ServiceInitArgs:
    """The Service of the gateway *name* without an overlay."""
    node_port = args.get("node_port")
    exposed = _exposed(args)
    # The provider lets endpoints settle for ten seconds; the Deployment has waited for them.
    # What a load balancer is to be dialled at is known only when it is there.
    waits = exposed is ServiceType.LOAD_BALANCER
    annotations = {
        **({} if waits else {"pulumi.com/skipAwait": "true"}),
        **args.get("annotations", {}),
    }
    return k8s.core.v1.ServiceInitArgs(
        metadata=metadata(name, args["namespace"], labels(name, "gateway"), annotations),
        spec=k8s.core.v1.ServiceSpecArgs(
            type=exposed.value,
            load_balancer_class=args.get("load_balancer_class"),
            load_balancer_source_ranges=args.get("source_ranges") or None,
            external_traffic_policy=args.get("external_traffic_policy"),
            selector=selector(name),
            ports=[
                k8s.core.v1.ServicePortArgs(
                    port=int(args.get("port", 1234)),
                    target_port="clients",
                    node_port=None if node_port is None else int(node_port),
                )
            ],
        ),
    )


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"


def _upstream(args: GatewayArgs, host: str, pods: list[str]) -> _envoy.Upstream:
    routing = Routing(args.get("routing", Routing.HOST_NAME))
    farm = Farm(tuple(pods), routing) if pods else None
    return _envoy.Upstream(host, int(args.get("upstream_port", 1234)), farm)


def _protocol(args: GatewayArgs) -> Protocol:
    return Protocol(args.get("protocol", Protocol.HTTP2))


def _exposed(args: GatewayArgs) -> ServiceType:
    return ServiceType(args.get("service_type", ServiceType.CLUSTER_IP))


def _drain_timeout(args: GatewayArgs) -> int:
    return int(args.get("drain_timeout", DRAIN_TIMEOUT))


def _layout(args: GatewayArgs) -> SecretLayout:
    return SecretLayout(args.get("server_secret_layout", SecretLayout.ENVOY))


def _container(args: GatewayArgs) -> k8s.core.v1.ContainerArgs:
    return k8s.core.v1.ContainerArgs(
        name="envoy",
        image=args.get("image", ENVOY_IMAGE),
        command=["envoy"],
        # What it said last is the reason that an update gives for a pod that does not start.
        termination_message_policy="FallbackToLogsOnError",
        args=["--config-path", "/etc/envoy/bootstrap/envoy.json", *ENVOY_OPTIONS],
        env=[
            _volumes.required_certificates("server", args["server_secret"], _layout(args)),
            _volumes.required_certificates(
                "upstream", args["upstream_secret"], SecretLayout.DAEMON
            ),
        ],
        ports=[
            k8s.core.v1.ContainerPortArgs(name="clients", container_port=_envoy.PORT),
            k8s.core.v1.ContainerPortArgs(name="health", container_port=_envoy.HEALTH_PORT),
            _metrics.PORT,
        ],
        resources=_pod.resources(_asked(args.get("resources", {}))),
        security_context=_metrics.unprivileged(),
        lifecycle=_drain.gateway(
            _envoy.ADMIN_PORT, *_envoy.PASSING[_protocol(args)], _drain_timeout(args)
        ),
        startup_probe=_probe(1, 60, timeout=2, grace=_drain.KILL_GRACE),
        readiness_probe=_probe(5, 2),
        liveness_probe=_probe(30, 3, grace=_drain.KILL_GRACE),
        volume_mounts=[
            _volumes.mount("bootstrap", "/etc/envoy/bootstrap"),
            _volumes.mount("xds", _xds.DIRECTORY),
            _volumes.mount("server", _xds.SERVER_CERTIFICATES),
            _volumes.mount("upstream", _xds.UPSTREAM_CERTIFICATES),
        ],
    )


def _asked(given: ResourcesArgs) -> ResourcesArgs:
    own = {**given.get("limits", {}), **given.get("requests", {})}
    defaults = {resource: _REQUESTS[resource] for resource in _REQUESTS if resource not in own}
    requests = {**defaults, **given.get("requests", {})}
    asked: ResourcesArgs = {"limits": _limits(given)}
    return {**asked, "requests": requests} if requests else asked


def _limits(given: ResourcesArgs) -> dict[str, pulumi.Input[str]]:
    requested = given.get("requests", {}).get("memory", _MEMORY)
    known = isinstance(requested, str)
    memory = _enough(requested) if known else pulumi.Output.from_input(requested).apply(_enough)
    return {"memory": memory, **given.get("limits", {})}


def _enough(requested: str) -> str:
    return max(requested, _MEMORY, key=quantity.number)


def _probe(
    period: int, failures: int, timeout: int = 5, grace: int | None = None
) -> k8s.core.v1.ProbeArgs:
    return k8s.core.v1.ProbeArgs(
        http_get=k8s.core.v1.HTTPGetActionArgs(path=_envoy.HEALTH_PATH, port="health"),
        period_seconds=period,
        timeout_seconds=timeout,
        failure_threshold=failures,
        termination_grace_period_seconds=grace,
    )
