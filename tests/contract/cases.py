"""Every component in every variant, as a library's user makes it."""

from collections.abc import Callable

import pulumi
from pulumi_buildkit import (
    BuildkitDeployment,
    Certificates,
    Gateway,
    Protocol,
    RegistryArgs,
    Security,
    ServerSecretLayout,
    ServiceType,
)

Make = Callable[[pulumi.ResourceOptions | None], pulumi.ComponentResource]
NAME = "team"
NAMESPACE = "build"


def certificates(layout: ServerSecretLayout) -> Make:
    return lambda opts: Certificates(
        NAME,
        {
            "namespace": NAMESPACE,
            "sans": ["build.example.com", "10.0.0.1"],
            "clients": ["dev", "ci"],
            "server_secret_layout": layout,
        },
        opts,
    )


def deployment(security: Security) -> Make:
    return lambda opts: BuildkitDeployment(
        NAME,
        {
            "namespace": NAMESPACE,
            "certificates": "team-daemon-certs",
            "security": security,
            "registries": {"docker.io": RegistryArgs(mirrors=["mirror:5000"])},
        },
        opts,
    )


def gateway(protocol: Protocol, service: ServiceType) -> Make:
    return lambda opts: Gateway(
        NAME,
        {
            "namespace": NAMESPACE,
            "upstream_host": "buildkitd.build.svc",
            "upstream_secret": "internal-gateway-certs",
            "server_secret": "team-envoy-certs",
            "clients": ["dev", "ci"],
            "protocol": protocol,
            "service_type": service,
        },
        opts,
    )


CASES: dict[str, Make] = {
    **{f"Certificates-{layout.value}": certificates(layout) for layout in ServerSecretLayout},
    **{f"BuildkitDeployment-{security.value}": deployment(security) for security in Security},
    **{
        f"Gateway-{protocol.value}-{service.value}": gateway(protocol, service)
        for protocol in Protocol
        for service in ServiceType
    },
}
