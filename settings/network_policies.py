"""The keys of who reaches what by the cluster's network."""

from pulumi_buildkit.network_policies import METADATA

from settings.section import Section
from settings.values import Label, LabelValue, Name, Network


class NetworkSourceSettings(Section):
    """Somebody who may connect: a network, or pods."""

    network: Network | None = None
    """Addresses of clients, as they are when a gateway's node sees them. Default: none."""
    namespace: Name | None = None
    """Namespace of pods. Default: the stack's own, where `pods` is given."""
    pods: dict[Label, LabelValue] = {}
    """Labels that the pods have. Default: all pods of the namespace."""


class NetworkPolicySettings(Section):
    """Who reaches buildkitd and its gateway, and what builds reach, where the cluster enforces it.

    Only the gateway reaches buildkitd where there is one, whatever else is said here.
    """

    enabled: bool = True
    """Whether there are such policies."""
    sources: list[NetworkSourceSettings] | None = None
    """Who reaches the port for clients. Default: everybody."""
    metrics_namespaces: list[Name] | None = None
    """Namespaces whose pods read metrics, at port 8082; with `autoscaling`, KEDA's is one of them.
    Default: everybody does."""
    denied_networks: list[Network] = [*METADATA]
    """Networks that builds do not reach: where clouds tell a machine its credentials."""
    builds_reach_pods: bool = True
    """Whether builds reach the pods of the cluster, whatever `deniedNetworks` says."""
