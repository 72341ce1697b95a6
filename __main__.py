"""BuildKit on Kubernetes: the components of one stack, wired as its configuration says."""

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random
from pulumi_buildkit import (
    BuildkitDeployment,
    Certificates,
    Gateway,
    RegistryArgs,
    ServerSecretLayout,
    default_image,
    service_host,
)

from settings import Settings, load

WORKLOAD = "buildkitd"
GATEWAY = "buildkit-gateway"
TEN_YEARS = 87_600


def make_namespace(settings: Settings) -> pulumi.Output[str]:
    """The stack's namespace; unless it is named, no two installations ever share one."""
    suffix = random.RandomString("suffix", length=5, upper=False, special=False)
    default = pulumi.Output.concat(
        pulumi.get_project(), "-", pulumi.get_stack(), "-", suffix.result
    )
    namespace = k8s.core.v1.Namespace(
        "namespace",
        metadata=k8s.meta.v1.ObjectMetaArgs(
            name=settings.namespace or default,
            # Every security variant of BuildKit needs what the other levels forbid.
            labels={"pod-security.kubernetes.io/enforce": "privileged"},
        ),
    )
    return namespace.metadata.name.apply(str)


def commands(endpoint: pulumi.Output[str]) -> dict[str, pulumi.Output[str]]:
    """How clients build here, with their certificate in the directory `certs`."""
    return {
        "buildx_command": pulumi.Output.concat(
            "docker buildx create --name buildkit --driver remote --driver-opt "
            '"cacert=$PWD/certs/ca.pem,cert=$PWD/certs/cert.pem,key=$PWD/certs/key.pem" tcp://',
            endpoint,
        ),
        "buildctl_command": pulumi.Output.concat(
            "buildctl --addr tcp://",
            endpoint,
            " --tlscacert certs/ca.pem --tlscert certs/cert.pem --tlskey certs/key.pem"
            " build --frontend dockerfile.v0 --local context=. --local dockerfile=.",
        ),
    }


def main() -> None:
    """Wire the stack: certificates, buildkitd, and the gateway in front of it."""
    settings = load()
    namespace = make_namespace(settings)
    daemon = service_host(WORKLOAD, namespace)
    service = service_host(GATEWAY, namespace)
    host = pulumi.Output.from_input(settings.gateway.host or service)
    lifetimes = settings.certificates

    # Only the gateway has a certificate of this CA: no build step can talk to buildkitd.
    internal = Certificates(
        WORKLOAD,
        {
            "namespace": namespace,
            "sans": [daemon],
            "clients": ["gateway"],
            # buildkitd reads its certificate once: this one outlives any pod.
            "validity_hours": TEN_YEARS,
            "ca_validity_hours": 2 * TEN_YEARS,
        },
    )
    edge = Certificates(
        "buildkit",
        {
            "namespace": namespace,
            "sans": [host, service, "localhost", "127.0.0.1", *lifetimes.sans],
            "clients": list(settings.clients),
            "server_secret_layout": ServerSecretLayout.ENVOY,
            "validity_hours": lifetimes.validity_hours,
            "early_renewal_hours": lifetimes.early_renewal_hours,
            "ca_validity_hours": lifetimes.ca_validity_hours,
        },
    )
    workload = BuildkitDeployment(
        WORKLOAD,
        {
            "namespace": namespace,
            "certificates": internal.server_secret,
            "security": settings.security,
            "image": settings.image or default_image(settings.security),
            "replicas": settings.replicas,
            "update_timeout": settings.update_timeout,
            "registries": {
                registry: RegistryArgs(mirrors=[*how.mirrors], http=how.http, insecure=how.insecure)
                for registry, how in settings.registries.items()
            },
        },
    )
    gateway = Gateway(
        GATEWAY,
        {
            "namespace": namespace,
            "upstream_host": workload.host,
            "upstream_secret": internal.client_secrets["gateway"],
            "server_secret": edge.server_secret,
            "clients": list(settings.clients),
            "protocol": settings.gateway.protocol,
            "hold": settings.gateway.hold,
            "host": host,
            "port": settings.gateway.port,
            "service_type": settings.gateway.service,
            "node_port": settings.gateway.node_port,
            "image": settings.gateway.image,
            "replicas": settings.gateway.replicas,
            "update_timeout": settings.update_timeout,
        },
    )

    outputs = {
        "endpoint": gateway.endpoint,
        "namespace": namespace,
        "workload": f"deployment/{WORKLOAD}",
        "gateway": f"deployment/{GATEWAY}",
        "clients": edge.bundles,
        **commands(gateway.endpoint),
    }
    for name, value in outputs.items():
        pulumi.export(name, value)


main()
