"""A project that has its namespace, its provider and its certificates, and adds BuildKit."""

import pulumi
import pulumi_kubernetes as k8s
from certificates import Authority
from pulumi_buildkit import BuildkitDeployment, Gateway, SecretLayout, ServiceType, service_host

CLIENT = "ci.builds.example.com"

config = pulumi.Config()
host = config.require("host")
cluster = k8s.Provider(
    "cluster",
    kubeconfig=config.require_secret("kubeconfig"),
    # A renewed certificate and a changed list of clients reach the running gateway.
    enable_secret_mutable=True,
    enable_config_map_mutable=True,
)
in_cluster = pulumi.ResourceOptions(provider=cluster)
namespace = k8s.core.v1.Namespace(
    "builds",
    metadata=k8s.meta.v1.ObjectMetaArgs(
        # Rootless buildkitd needs what the other levels forbid.
        labels={"pod-security.kubernetes.io/enforce": "privileged"}
    ),
    opts=in_cluster,
).metadata.name.apply(str)

# Clients meet the one, and gateway and buildkitd each other under the other: nobody else can talk
# to buildkitd, which reads its certificate once.
company = Authority("company", 1, namespace, in_cluster)
internal = Authority("internal", 10, namespace, in_cluster)

buildkitd = BuildkitDeployment(
    "buildkitd",
    {
        "namespace": namespace,
        "certificates": internal.secret("buildkitd-tls", service_host("buildkitd", namespace)),
    },
    in_cluster,
)
gateway = Gateway(
    "gateway",
    {
        "namespace": namespace,
        "upstream_host": buildkitd.host,
        "upstream_secret": internal.secret("gateway-upstream-tls", "gateway"),
        "server_secret": company.secret("gateway-tls", host),
        "server_secret_layout": SecretLayout.DAEMON,
        # Known by the name in the certificate that the company gave it.
        "clients": {"ci": {"san": CLIENT}},
        "service_type": ServiceType.NODE_PORT,
        "node_port": config.require_int("nodePort"),
        "host": host,
    },
    in_cluster,
)

pulumi.export("endpoint", gateway.endpoint)
pulumi.export("clients", pulumi.Output.secret({"ci": company.sign("ci", CLIENT)}))
