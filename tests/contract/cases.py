"""Every component in every variant, as a library's user makes it."""

import typing
from typing import Any

import pulumi
from pulumi_buildkit import (
    Autoscaler,
    BuildkitDeployment,
    BuildkitJob,
    BuildkitPod,
    BuildkitStatefulSet,
    Certificates,
    DaemonArgs,
    Gateway,
    Protocol,
    RegistryArgs,
    SecretLayout,
    Security,
    ServiceType,
    UserNamespaces,
    VolumeKind,
)

NAME = "team"
NAMESPACE = "library"
SERVER = {"certificates": "team-tls", "certificates_layout": SecretLayout.TLS}
CLAIM = {"kind": VolumeKind.CLAIM}
EMPTY_DIR = {"kind": VolumeKind.EMPTY_DIR}


class Make(typing.Protocol):
    """Makes a component, in the place of a library's user."""

    def __call__(
        self, opts: pulumi.ResourceOptions | None = None, name: str = NAME
    ) -> pulumi.ComponentResource: ...


def certificates(clients: list[str], *layouts: SecretLayout) -> Make:
    return lambda opts=None, name=NAME: Certificates(
        name,
        {
            "namespace": NAMESPACE,
            "sans": ["build.example.com", "10.0.0.1"],
            "clients": clients,
            "server_secret_layouts": [*layouts],
        },
        opts,
    )


def daemon(security: Security) -> DaemonArgs:
    mirrored = {"docker.io": RegistryArgs(mirrors=["mirror:5000"])}
    return {"security": security, "registries": mirrored}


def pod(security: Security, **args: Any) -> Make:
    merged: Any = {"namespace": NAMESPACE, "daemon": daemon(security), **args}
    return lambda opts=None, name=NAME: BuildkitPod(name, merged, opts)


def deployment(security: Security, **args: Any) -> Make:
    merged: Any = {"namespace": NAMESPACE, "daemon": daemon(security), **SERVER, **args}
    return lambda opts=None, name=NAME: BuildkitDeployment(name, merged, opts)


def stateful_set(security: Security, **args: Any) -> Make:
    merged: Any = {"namespace": NAMESPACE, "daemon": daemon(security), "replicas": 2, **args}
    return lambda opts=None, name=NAME: BuildkitStatefulSet(name, merged, opts)


def job(security: Security) -> Make:
    return lambda opts=None, name=NAME: BuildkitJob(
        name,
        {
            "namespace": NAMESPACE,
            "daemon": {"security": security},
            "build": {
                "files": {"Dockerfile": "FROM scratch\nCOPY src /\n", "src/hello": "Hello\n"},
                "outputs": [{"type": "image", "name": "registry:5000/hello", "push": "true"}],
                "secrets": {"token": {"secret": "login", "key": "token"}},
                "registry_credentials": "registry-login",
            },
        },
        opts,
    )


def autoscaler(
    opts: pulumi.ResourceOptions | None = None, name: str = NAME
) -> pulumi.ComponentResource:
    return Autoscaler(
        name,
        {"namespace": NAMESPACE, "workload": "statefulset/team", "gateway": "team-gateway"},
        opts,
    )


def user_namespaces(
    opts: pulumi.ResourceOptions | None = None, name: str = NAME
) -> pulumi.ComponentResource:
    return UserNamespaces(name, {"namespace": NAMESPACE}, opts)


def gateway(protocol: Protocol, service: ServiceType) -> Make:
    return lambda opts=None, name=NAME: Gateway(
        name,
        {
            "namespace": NAMESPACE,
            "upstream_host": f"buildkitd.{NAMESPACE}.svc",
            "upstream_secret": "internal-gateway-certs",
            "server_secret": "team-envoy-certs",
            "clients": {"dev": {}, "ci": {"san": "client"}},
            "protocol": protocol,
            "service_type": service,
        },
        opts,
    )


CASES: dict[str, Make] = {
    **{
        f"Certificates-{layout.value}": certificates(["dev", "ci"], layout)
        for layout in SecretLayout
    },
    "Certificates-every-layout": certificates(["dev"], *SecretLayout),
    "Certificates-no-client": certificates([], SecretLayout.DAEMON),
    **{f"BuildkitPod-{security.value}": pod(security) for security in Security},
    "BuildkitPod-claim": pod(Security.ROOTLESS, volume=CLAIM),
    "BuildkitPod-certificates": pod(Security.ROOTLESS, **SERVER),
    **{f"BuildkitDeployment-{security.value}": deployment(security) for security in Security},
    "BuildkitDeployment-claim": deployment(Security.ROOTLESS, volume=CLAIM),
    **{f"BuildkitStatefulSet-{security.value}": stateful_set(security) for security in Security},
    "BuildkitStatefulSet-emptyDir": stateful_set(Security.ROOTLESS, volume=EMPTY_DIR),
    "BuildkitStatefulSet-certificates": stateful_set(Security.ROOTLESS, **SERVER),
    **{f"BuildkitJob-{security.value}": job(security) for security in Security},
    "BuildkitStatefulSet-autoscaled": stateful_set(Security.ROOTLESS, autoscaled=True),
    "Autoscaler": autoscaler,
    "UserNamespaces": user_namespaces,
    **{
        f"Gateway-{protocol.value}-{service.value}": gateway(protocol, service)
        for protocol in Protocol
        for service in ServiceType
    },
}
