"""How buildkitd runs, whatever it runs in."""

from enum import Enum
from typing import Any, NotRequired, TypedDict

import pulumi

from pulumi_buildkit.registry import RegistryArgs
from pulumi_buildkit.security import Security

DRAIN_TIMEOUT = 1800
"""Seconds that a pod which is to go lets its builds run on when nobody says."""


class GarbageCollectionArgs(TypedDict):
    """When buildkitd gives up cached data (https://github.com/moby/buildkit/blob/master/docs/buildkitd.toml.md).

    The sizes are Kubernetes quantities, as `40Gi`, or as buildkitd takes them: `250GB` (its units
    are powers of 1024), bytes, or a percentage of the file system that has the cache, as `80%`.
    `0` is no such limit. Where the volume's size is not known, and none of them is given,
    buildkitd's own defaults hold.
    """

    reserved_space: NotRequired[str]
    """Size below which nothing is given up. Default: a tenth of the volume."""
    max_used_space: NotRequired[str]
    """Size that the cache is kept below. Default: four fifths of the volume."""
    min_free_space: NotRequired[str]
    """Space that is kept free on the disk. Default: a tenth of a claim; for an emptyDir a fifth of
    the node's disk."""


class ResourcesArgs(TypedDict):
    """What the container asks of its node, by resource, as cpu, memory or ephemeral-storage."""

    requests: NotRequired[dict[str, pulumi.Input[str]]]
    """What is set aside for it. Default: nothing, or its limits."""
    limits: NotRequired[dict[str, pulumi.Input[str]]]
    """What it can't exceed. Default: none."""


class MetricsArgs(TypedDict):
    """How Prometheus reads buildkitd's own metrics, at port 8082 of its pods and `/metrics`.

    An Envoy beside it passes them on: nothing else of buildkitd's debug listener can be reached, by
    build steps neither. Kubernetes 1.29 or newer.
    """

    image: NotRequired[pulumi.Input[str]]
    """Envoy's image. Default: `ENVOY_IMAGE`."""
    scraped: NotRequired[bool]
    """Whether the pods are annotated for a Prometheus that finds what it asks by the annotations
    `prometheus.io/scrape`, `port` and `path`. Default: true."""


class OtlpProtocol(str, Enum):
    """How traces are sent (https://opentelemetry.io/docs/specs/otel/protocol/exporter/)."""

    GRPC = "grpc"
    """By gRPC, usually to port 4317."""
    HTTP = "http/protobuf"
    """By HTTP, usually to port 4318 and `/v1/traces`."""


class TracesArgs(TypedDict):
    """Where buildkitd sends what its builds spent their time on, by OTLP.

    See https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
    """

    endpoint: str
    """Address of the collector, as http://collector.tracing:4317; `https://` for TLS. With
    http/protobuf its path too."""
    protocol: NotRequired[OtlpProtocol]
    """How it is asked. Default: grpc."""


class DaemonArgs(TypedDict):
    """How buildkitd runs, in every component that runs it."""

    security: NotRequired[Security]
    """How much of the node buildkitd may touch. Default: rootless."""
    image: NotRequired[pulumi.Input[str]]
    """buildkitd's image, used as it is. Default: `default_image` of the security variant."""
    registries: NotRequired[dict[str, RegistryArgs]]
    """How to reach registries, by host. Default: all by HTTPS."""
    garbage_collection: NotRequired[GarbageCollectionArgs]
    """When cached data is given up. Default: as the volume's size demands."""
    max_parallelism: NotRequired[int]
    """How many build steps run at once. Default: the CPU limit, rounded up; else no limit."""
    config: NotRequired[dict[str, Any]]
    """Further keys of buildkitd.toml, laid over those made from the arguments. Default: none."""
    resources: NotRequired[ResourcesArgs]
    """What the container asks of its node. Default: nothing."""
    drain_timeout: NotRequired[int]
    """How long a pod that is to go lets its builds run on, in seconds. Default: 1800."""
    metrics: NotRequired[MetricsArgs]
    """Lets Prometheus read buildkitd's own metrics. Default: nobody can."""
    traces: NotRequired[TracesArgs]
    """Where its builds' traces go. Default: nowhere."""
    pod: NotRequired[dict[str, Any]]
    """A pod template in the Kubernetes API's own names, `{metadata: …, spec: …}`, merged over the
    component's as `kubectl patch` does (strategic merge). Default: empty."""
    service_overlay: NotRequired[dict[str, Any]]
    """A Service in the same names, merged over the component's Services in the same way, as
    `{spec: {ipFamilyPolicy: PreferDualStack}}`. Default: empty."""
