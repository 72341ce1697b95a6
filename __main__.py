"""BuildKit on Kubernetes: the components of one stack, wired as its configuration says."""

from enum import Enum
from typing import Any, NamedTuple, TypedDict

import pulumi
import pulumi_buildkit as buildkit
import pulumi_kubernetes as k8s
import pulumi_random as random
from pulumi_buildkit import SecretLayout, service_host
from pulumi_buildkit.overlay import DIRECTIVE, MERGE_KEYS
from pulumi_buildkit.secret_layout import FILES
from pydantic.alias_generators import to_camel

from settings import (
    GATEWAY,
    PREFLIGHT,
    WORKLOAD,
    AutoscalingSettings,
    Mode,
    Preflight,
    Settings,
    checked,
    is_secret,
    load,
    node_kinds,
    rolled,
)

EDGE = "buildkit"
TEN_YEARS = 87_600
BUILD = " build --frontend dockerfile.v0 --local context=. --local dockerfile=."
# Every security variant of BuildKit needs what the other levels forbid; nor is there anything to
# warn of, or to record, whatever the cluster's own default is.
POD_SECURITY = {
    f"pod-security.kubernetes.io/{what}": "privileged" for what in ("enforce", "audit", "warn")
}
# By these the items of an overlay are matched with the component's, which a secret can't be.
MATCHED = frozenset({DIRECTIVE, *MERGE_KEYS.values()})
OVERLAYS = ("pod", "service_overlay")


class Kind(NamedTuple):
    """What runs buildkitd in one mode."""

    name: str
    component: Any
    arguments: Any
    """The component's TypedDict."""
    app: str
    """The label of its pods."""


KINDS = {
    Mode.POD: Kind(WORKLOAD, buildkit.BuildkitPod, buildkit.BuildkitPodArgs, WORKLOAD),
    Mode.DEPLOYMENT: Kind(
        WORKLOAD, buildkit.BuildkitDeployment, buildkit.BuildkitDeploymentArgs, WORKLOAD
    ),
    Mode.STATEFULSET: Kind(
        WORKLOAD, buildkit.BuildkitStatefulSet, buildkit.BuildkitStatefulSetArgs, WORKLOAD
    ),
    Mode.JOB: Kind("build", buildkit.BuildkitJob, buildkit.BuildkitJobArgs, "build-build"),
}


class Server(NamedTuple):
    """A server's certificate, and the CA of those whom it lets in."""

    secret: pulumi.Input[str]
    layout: SecretLayout
    clients: pulumi.Input[dict[str, Any]]
    """The certificates that were made for clients."""
    valid_until: pulumi.Input[dict[str, str]]
    """When each certificate that was made ends."""


class Outputs(TypedDict, total=False):
    """What the stack says of itself, and how to build with it."""

    namespace: pulumi.Input[str]
    """Namespace of everything that is made."""
    endpoint: pulumi.Input[str]
    """What clients dial, `host:port` or `kube-pod://…`; `PROJECT.` before it stands for a project's
    name, where a farm chooses by that."""
    buildx_command: pulumi.Input[str]
    """Makes it known to docker buildx, as the builder `buildkit`."""
    buildx_append_command: pulumi.Input[str]
    """Adds it to the builder `buildkit` of another stack, as one more node, with the client's
    certificate in `certs-STACK`."""
    buildctl_command: pulumi.Input[str]
    """Builds the Dockerfile of the current directory by buildctl."""
    clients: pulumi.Input[dict[str, Any]]
    """The PEM files of each client by its name: `ca`, `cert` and `key`, which the commands above
    want in the directory `certs`. None are made where you bring your own."""
    valid_until: pulumi.Input[dict[str, str]]
    """When each certificate ends that clients meet or show, in RFC 3339, by the name of its CA or
    client, or `server`."""
    workload: pulumi.Input[str]
    """What runs buildkitd, as kubectl calls it: `deployment/buildkitd`."""
    gateway: pulumi.Input[str]
    """The gateway, as kubectl calls it: `deployment/buildkit-gateway`."""


def make_namespace(settings: Settings) -> pulumi.Output[str]:
    """The stack's namespace; unless it is named, no two installations ever share one."""
    if settings.namespace and not settings.create_namespace:
        return pulumi.Output.from_input(settings.namespace)
    suffix = random.RandomString("suffix", length=5, upper=False, special=False)
    default = pulumi.Output.concat(
        pulumi.get_project(), "-", pulumi.get_stack(), "-", suffix.result
    )
    namespace = k8s.core.v1.Namespace(
        "namespace",
        metadata=k8s.meta.v1.ObjectMetaArgs(
            name=settings.namespace or default,
            labels=POD_SECURITY,
        ),
    )
    return namespace.metadata.name.apply(
        # What is named in the configuration was checked with it.
        lambda name: str(name) if settings.namespace else checked(settings, str(name))
    )


def edge_certificate(settings: Settings, namespace: pulumi.Output[str]) -> Server:
    """What clients meet: as given, or made here.

    What is made is the same in every mode: a switch costs no client its certificate.
    """
    given = settings.certificates
    if given.existing_secret:
        return Server(given.existing_secret, given.layout, {}, {})
    if given.ca and given.cert and given.key:
        pems = (given.ca, given.cert, given.key.get_secret_value())
        secret = k8s.core.v1.Secret(
            f"{EDGE}-own-certs",
            metadata=k8s.meta.v1.ObjectMetaArgs(name=f"{EDGE}-own-certs", namespace=namespace),
            string_data=pulumi.Output.secret(dict(zip(FILES, pems, strict=True))),
        )
        return Server(secret.metadata.name.apply(str), SecretLayout.DAEMON, {}, {})
    layout = SecretLayout.ENVOY if settings.has_gateway else SecretLayout.DAEMON
    hosts = [service_host(name, namespace) for name in (GATEWAY, WORKLOAD)]
    dialled = [settings.gateway.host] if settings.gateway.host else []
    dialled += [f"*.{settings.domain}"] if settings.domain else []
    certificates = buildkit.Certificates(
        EDGE,
        {
            "namespace": namespace,
            "sans": [*dialled, *hosts, "localhost", "127.0.0.1", *given.sans],
            "clients": [*settings.clients],
            "client_namespaces": {
                name: client.namespace
                for name, client in settings.clients.items()
                if client.namespace
            },
            "server_secret_layouts": [layout, *given.secrets],
            "validity_hours": given.validity_hours,
            "early_renewal_hours": given.early_renewal_hours,
            "ca_validity_hours": given.ca_validity_hours,
            "authorities": given.authorities,
        },
    )
    secret_name = certificates.server_secrets[layout.value]
    return Server(secret_name, layout, certificates.bundles, certificates.valid_until)


def internal_certificates(namespace: pulumi.Output[str]) -> buildkit.Certificates:
    """Those between gateway and buildkitd.

    Only the gateway has a certificate of this CA: no build step can talk to buildkitd.
    """
    return buildkit.Certificates(
        WORKLOAD,
        {
            "namespace": namespace,
            "sans": [service_host(WORKLOAD, namespace)],
            "clients": ["gateway"],
            # buildkitd reads its certificate once: this one outlives any pod.
            "validity_hours": TEN_YEARS,
            "ca_validity_hours": 2 * TEN_YEARS,
        },
    )


def prepare_nodes(settings: Settings, namespace: pulumi.Output[str]) -> list[pulumi.Resource]:
    """What has to be there before buildkitd starts on a node."""
    if not settings.user_namespaces.enabled:
        return []
    given: Any = {
        **settings.user_namespaces.model_dump(exclude={"enabled", "pod"}),
        "pod": hidden("userNamespaces", settings.user_namespaces.pod, MATCHED),
        "namespace": namespace,
        "update_timeout": settings.update_timeout,
    }
    return [buildkit.UserNamespaces("sysctl-userns", given)]


def try_nodes(
    settings: Settings, namespace: pulumi.Output[str], after: list[pulumi.Resource]
) -> pulumi.Output[str]:
    """The *namespace*, when a node of each kind has built something in it, if that is asked for.

    So nothing else is made before.
    """
    if settings.preflight is not Preflight.NODES:
        return namespace
    tried = buildkit.NodePreflight(
        PREFLIGHT,
        {
            "namespace": namespace,
            "daemon": daemon(settings),
            "nodes": node_kinds(settings),
            "update_timeout": settings.update_timeout,
        },
        pulumi.ResourceOptions(depends_on=after),
    )
    return tried.namespace


def daemon(settings: Settings) -> Any:
    """What the stack says of buildkitd itself."""
    given = {
        key: hidden(to_camel(key), value, MATCHED if key in OVERLAYS else frozenset())
        for key, value in settings.model_dump(exclude_unset=True, exclude_none=True).items()
        if key in buildkit.DaemonArgs.__annotations__
    }
    metrics = buildkit.MetricsArgs(
        image=settings.gateway.image, scraped=not settings.monitoring.pod_monitor
    )
    return {
        **given,
        "drain_timeout": settings.drain.timeout,
        **({"metrics": metrics} if settings.monitoring.buildkitd else {}),
        "config": hidden("buildkitd", settings.buildkitd),
    }


def guard_network(settings: Settings, namespace: pulumi.Output[str]) -> list[pulumi.Resource]:
    """What has to be there before a build reaches anything, or anybody a pod."""
    given = settings.network_policies
    if not given.enabled:
        return []
    arguments: Any = {
        # To no pod anybody is to come, unless there is a port for clients.
        **({} if settings.serves_clients else {"sources": []}),
        **given.model_dump(exclude={"enabled"}, exclude_defaults=True),
        "namespace": namespace,
        "workload": KINDS[settings.mode].app,
        "gateway": GATEWAY if settings.has_gateway else None,
        "daemon_metrics": settings.monitoring.buildkitd,
    }
    return [buildkit.NetworkPolicies("buildkit", arguments)]


def hidden(key: str, value: Any, matched: frozenset[str] = frozenset()) -> Any:
    """*value*, with its texts as secret as the stack's *key* is: state and outputs show none.

    Those of the names *matched* stay as they are.
    """
    if isinstance(value, dict):
        return {
            name: inner if name in matched else hidden(key, inner, matched)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [hidden(key, inner, matched) for inner in value]
    shown = not isinstance(value, str) or isinstance(value, Enum) or not is_secret(key)
    return value if shown else pulumi.Output.secret(value)


def run_buildkitd(
    settings: Settings,
    namespace: pulumi.Output[str],
    server: Server | None,
    after: list[pulumi.Resource],
) -> Any:
    """The component of the mode, with those of all settings that it has an argument for."""
    kind = KINDS[settings.mode]
    volume = settings.volume.model_dump(exclude_unset=True, exclude_none=True)
    job = hidden("job", settings.job.model_dump(exclude_unset=True) if settings.job else {})
    given = {
        **job,
        "namespace": namespace,
        "daemon": daemon(settings),
        "build": job,
        "certificates": server and server.secret,
        "certificates_layout": server and server.layout,
        "volume": {**volume, "kind": settings.volume_kind},
        "replicas": settings.scale.most,
        "autoscaled": settings.follows_builds,
        "update_timeout": settings.update_timeout,
    }
    # A switch of modes takes along what is called the same in both: Service and ConfigMap.
    others = {k.component for k in KINDS.values() if k.name == kind.name} - {kind.component}
    aliases = [pulumi.Alias(type_=f"buildkit:index:{o.__name__}") for o in others]
    return kind.component(
        kind.name,
        {key: given[key] for key in kind.arguments.__annotations__ if given.get(key) is not None},
        pulumi.ResourceOptions(aliases=[*aliases], depends_on=after),
    )


def rolled_workload(
    settings: Settings, namespace: pulumi.Output[str], workload: Any
) -> pulumi.Output[str]:
    """What runs buildkitd, when its pods have rolled: until then Pulumi deletes nothing."""
    # Each pod may take all its time to go, and the next one to come.
    timeout = (settings.update_timeout + settings.drain.timeout) * settings.scale.most
    return pulumi.Output.all(workload.workload, namespace).apply(
        lambda known: rolled(known[0], known[1], timeout)
    )


def make_gateway(
    settings: Settings,
    namespace: pulumi.Output[str],
    workload: Any,
    edge: Server,
    internal: buildkit.Certificates,
) -> buildkit.Gateway:
    """The gateway between the clients and buildkitd's Service."""
    gateway = settings.gateway
    return buildkit.Gateway(
        GATEWAY,
        {
            "namespace": namespace,
            "upstream_host": service_host(WORKLOAD, namespace),
            "pods": workload.hosts if settings.farm else [],
            "routing": settings.farm.routing if settings.farm else buildkit.Routing.HOST_NAME,
            "upstream_secret": internal.client_secrets["gateway"],
            "server_secret": edge.secret,
            "server_secret_layout": edge.layout,
            "clients": {
                name: buildkit.ClientArgs(
                    **client.model_dump(exclude={"namespace"}, exclude_none=True)
                )
                for name, client in settings.clients.items()
            },
            "protocol": gateway.protocol,
            "hold": settings.hold,
            "keepalive": gateway.keepalive,
            "keepalive_timeout": gateway.keepalive_timeout,
            "drain_timeout": settings.drain.timeout,
            "host": gateway.host or service_host(GATEWAY, namespace),
            "port": gateway.port,
            "service_type": gateway.service,
            "node_port": gateway.node_port,
            "annotations": {**gateway.annotations},
            "load_balancer_class": gateway.load_balancer_class,
            "source_ranges": gateway.source_ranges,
            "external_traffic_policy": gateway.external_traffic_policy,
            "proxy_protocol": gateway.proxy_protocol,
            "image": gateway.image,
            "replicas": gateway.replicas,
            "max_unavailable": gateway.max_unavailable,
            "spread": gateway.spread,
            "resources": buildkit.ResourcesArgs(**gateway.resources.model_dump(exclude_unset=True)),
            "scraped": not settings.monitoring.pod_monitor,
            "pod": hidden("gateway", gateway.pod, MATCHED),
            "service_overlay": hidden("gateway", gateway.service_overlay, MATCHED),
            "update_timeout": settings.update_timeout,
        },
    )


def follow_builds(
    settings: Settings, namespace: pulumi.Output[str], workload: Any, gateway: buildkit.Gateway
) -> None:
    """Have as many buildkitds as the builds at the gateway need, where the stack asks for it."""
    if not settings.follows_builds:
        return
    fewest, most = settings.scale
    given = settings.autoscaling or AutoscalingSettings()
    buildkit.Autoscaler(
        f"{WORKLOAD}-autoscaler",
        buildkit.AutoscalerArgs(
            namespace=namespace,
            workload=workload.workload,
            gateway=GATEWAY,
            min=fewest,
            max=most,
            cooldown=given.cooldown,
            builds=given.builds,
        ),
        # It finds what it scales and whom it asks, and goes before they do.
        pulumi.ResourceOptions(depends_on=[workload, gateway]),
    )


def watch(settings: Settings, namespace: pulumi.Output[str]) -> None:
    """Have Prometheus and Grafana know of it, where the stack asks for it."""
    given = settings.monitoring
    if not given.makes:
        return
    buildkit.Monitoring(
        f"{EDGE}-monitoring",
        buildkit.MonitoringArgs(
            namespace=namespace,
            gateway=GATEWAY,
            workload=WORKLOAD,
            hold=settings.hold,
            pod_monitor=given.pod_monitor,
            rules=given.rules,
            dashboard=given.dashboard,
            labels={**given.labels},
        ),
    )


def tls_commands(endpoint: pulumi.Output[str]) -> Outputs:
    """How clients build at *endpoint*, with their certificate in the directory `certs`.

    The builder of docker buildx has one node for each stack that is appended to it.
    """
    stack = pulumi.get_stack()
    return {
        "endpoint": endpoint,
        "buildx_command": _create("--name buildkit", "certs", endpoint),
        "buildx_append_command": _create(
            f"--append --name buildkit --node {stack}", f"certs-{stack}", endpoint
        ),
        "buildctl_command": pulumi.Output.concat(
            "buildctl --addr tcp://",
            endpoint,
            " --tlscacert certs/ca.pem --tlscert certs/cert.pem --tlskey certs/key.pem",
            BUILD,
        ),
    }


def _create(builder: str, certificates: str, endpoint: pulumi.Output[str]) -> pulumi.Output[str]:
    files = (("cacert", "ca"), ("cert", "cert"), ("key", "key"))
    options = ",".join(f"{option}=$PWD/{certificates}/{file}.pem" for option, file in files)
    return pulumi.Output.concat(
        f'docker buildx create {builder} --driver remote --driver-opt "{options}" tcp://', endpoint
    )


def kube_pod_commands(pods: pulumi.Output[list[str]], namespace: pulumi.Output[str]) -> Outputs:
    """How clients build in the first of *pods*, by `kubectl exec`."""
    endpoint = pulumi.Output.concat("kube-pod://", pods[0], "?namespace=", namespace)
    return {
        "endpoint": endpoint,
        "buildx_command": pulumi.Output.concat(
            "docker buildx create --name buildkit --driver remote '", endpoint, "'"
        ),
        "buildctl_command": pulumi.Output.concat("buildctl --addr '", endpoint, "'", BUILD),
    }


def main() -> None:
    """Wire the stack: certificates, buildkitd, and the gateway in front of it."""
    settings = load()
    own = make_namespace(settings)
    prepared = prepare_nodes(settings, own)
    namespace = try_nodes(settings, own, prepared)
    edge = edge_certificate(settings, namespace) if settings.clients else None
    outputs: Outputs = {
        "namespace": namespace,
        "clients": edge.clients if edge else {},
        "valid_until": edge.valid_until if edge else {},
    }

    internal = internal_certificates(namespace) if settings.has_gateway else None
    listening = (
        Server(internal.server_secrets["daemon"], SecretLayout.DAEMON, {}, {})
        if internal
        else edge
        if settings.traits.listens
        else None
    )
    before = [*prepared, *guard_network(settings, namespace)]
    workload = run_buildkitd(settings, namespace, listening, before)
    outputs["workload"] = rolled_workload(settings, namespace, workload)
    if edge and internal:
        gateway = make_gateway(settings, namespace, workload, edge, internal)
        follow_builds(settings, namespace, workload, gateway)
        watch(settings, namespace)
        project = "PROJECT." if settings.domain else ""
        endpoint = pulumi.Output.concat(project, gateway.endpoint)
        outputs |= {"gateway": f"deployment/{GATEWAY}", **tls_commands(endpoint)}
    elif listening:
        outputs |= tls_commands(pulumi.Output.format("{0}:{1}", workload.host, workload.port))
    elif not settings.traits.builds:
        outputs |= kube_pod_commands(workload.pods, namespace)

    for name, value in outputs.items():
        pulumi.export(name, value)


main()
