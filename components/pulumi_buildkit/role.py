"""What a client may do at the gateway."""

from enum import Enum


class Role(str, Enum):
    """What a client may ask of BuildKit, RPC by RPC."""

    BUILDER = "builder"
    """All that buildctl and docker buildx need to build, and to export its record."""
    ADMIN = "admin"
    """Everything: prune, disk usage, and other people's build histories too."""


UPDATE_HISTORY = "/moby.buildkit.v1.Control/UpdateBuildHistory"
"""Finalizes, pins or deletes the record of a build. A builder may only finalize one, as `docker
buildx history export --finalize` and docker/build-push-action do after each build."""

RPCS = {
    Role.BUILDER: (
        "/moby.buildkit.v1.Control/Info",
        "/moby.buildkit.v1.Control/ListWorkers",
        "/moby.buildkit.v1.Control/Session",
        "/moby.buildkit.v1.Control/Solve",
        "/moby.buildkit.v1.Control/Status",
        "/moby.buildkit.v1.Control/ListenBuildHistory",
        UPDATE_HISTORY,
        # What a client's own frontend asks for: docker buildx runs one in each build.
        "/moby.buildkit.v1.frontend.LLBBridge/",
        # docker buildx reads a finished build's provenance.
        "/containerd.services.content.v1.Content/Info",
        "/containerd.services.content.v1.Content/Read",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        # Probes of load balancers, and grpc_health_probe.
        "/grpc.health.v1.Health/",
    ),
    Role.ADMIN: ("/",),
}
"""The paths of the RPCs that a role may call: one, or with a slash at its end all below it. They
are those of https://github.com/moby/buildkit/blob/master/api/services/control/control.proto and of
what else buildkitd serves."""
