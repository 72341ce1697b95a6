"""Who reaches buildkitd and its gateway, and what builds reach."""

from collections.abc import Sequence
from ipaddress import ip_network
from typing import NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _envoy, _pod
from pulumi_buildkit._drain import READY_PORT
from pulumi_buildkit._options import reaching_children
from pulumi_buildkit.metadata import labels, metadata, selector

METADATA = (
    "169.254.0.0/16",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "fe80::/10",
    "fd00:ec2::/32",
    "fd20:ce::254/128",
)
"""Where clouds tell a machine its credentials: all link-local addresses, Alibaba Cloud, Azure, AWS
and Google Cloud by IPv6."""

# All that there is, in both families of addresses.
_EVERYWHERE = ("0.0.0.0/0", "::/0")
_DNS = 53
# Policies see a packet after the Service's port became the pod's: OpenShift's name servers listen
# on 5353, Gardener's on 8053.
_DNS_OF_PODS = (_DNS, 5353, 8053)
# CoreDNS keeps the label that kube-dns had.
_NAME_SERVERS = (("kube-system", {"k8s-app": "kube-dns"}), ("openshift-dns", None))


class NetworkSourceArgs(TypedDict):
    """Somebody who may connect: a network, or the pods of a namespace."""

    network: NotRequired[str]
    """Addresses, as 192.0.2.0/24."""
    namespace: NotRequired[str]
    """Name of the pods' namespace. Default: that of the policies, where `pods` is given."""
    pods: NotRequired[dict[str, str]]
    """Labels that the pods have. Default: all pods of the namespace."""


class NetworkPoliciesArgs(TypedDict):
    """Arguments of `NetworkPolicies`."""

    namespace: pulumi.Input[str]
    """Namespace of everything in it, and of the pods."""
    workload: str
    """The label `app` of buildkitd's pods: the name of their component, and NAME-build for a
    BuildkitJob's."""
    gateway: NotRequired[str | None]
    """Name of the `Gateway`, which alone reaches buildkitd then. Default: none, clients reach
    buildkitd itself."""
    sources: NotRequired[list[NetworkSourceArgs] | None]
    """Who reaches the port for clients; an empty list is nobody. Default: everybody."""
    metrics_namespaces: NotRequired[list[str]]
    """Names of the namespaces whose pods read metrics, KEDA's among them where buildkitd is scaled;
    an empty list is none. Default: everybody."""
    daemon_metrics: NotRequired[bool]
    """Whether buildkitd's pods have `metrics` of their own to read. Default: false."""
    denied_networks: NotRequired[list[str]]
    """Networks that builds do not reach, as 192.0.2.0/24; pods of the cluster have a rule of their
    own. Default: where clouds tell a machine its credentials, 169.254.0.0/16, 100.100.100.200/32,
    168.63.129.16/32, fe80::/10, fd00:ec2::/32 and fd20:ce::254/128."""
    builds_reach_pods: NotRequired[bool]
    """Whether builds reach pods of the cluster, in all namespaces, whatever their addresses.
    Default: true."""


class NetworkPolicies(pulumi.ComponentResource):
    """Rules of the cluster's network for builds and for the gateway, where it enforces such rules.

    They hold for pods with a network of their own; the pods' node always reaches them. Name
    servers are reached anywhere.
    """

    def __init__(
        self, name: str, args: NetworkPoliciesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Make a NetworkPolicy for buildkitd's pods, and one for the gateway's."""
        super().__init__("buildkit:index:NetworkPolicies", name, {}, reaching_children(opts))
        self._name = name
        self._args = args
        gateway = args.get("gateway")
        clients = _clients(args)
        metrics = _to([_envoy.METRICS_PORT], _namespaces(args.get("metrics_namespaces")))
        # Of a farm the gateway asks the port that is open while a pod takes new builds.
        builds = (
            _to([_pod.PORT, READY_PORT], [_pods(gateway)]) if gateway else _to([_pod.PORT], clients)
        )
        self._policy(
            "builds",
            args["workload"],
            [*builds, *(metrics if args.get("daemon_metrics") else [])],
            _egress(args.get("denied_networks", METADATA), args.get("builds_reach_pods", True)),
        )
        if gateway:
            self._policy("gateway", gateway, [*_to([_envoy.PORT], clients), *metrics], None)
        self.register_outputs({})

    def _policy(
        self,
        suffix: str,
        app: str,
        ingress: list[k8s.networking.v1.NetworkPolicyIngressRuleArgs],
        egress: list[k8s.networking.v1.NetworkPolicyEgressRuleArgs] | None,
    ) -> None:
        name = f"{self._name}-{suffix}"
        k8s.networking.v1.NetworkPolicy(
            name,
            metadata=metadata(name, self._args["namespace"], labels(self._name, "network-policy")),
            spec=k8s.networking.v1.NetworkPolicySpecArgs(
                pod_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(app)),
                policy_types=["Ingress"] if egress is None else ["Ingress", "Egress"],
                ingress=ingress,
                egress=egress,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )


_Peers = Sequence[k8s.networking.v1.NetworkPolicyPeerArgs]


def _clients(args: NetworkPoliciesArgs) -> _Peers | None:
    """Those who connect as clients; none where everybody may."""
    sources = args.get("sources")
    return None if sources is None else [*map(_source, sources)]


def _source(source: NetworkSourceArgs) -> k8s.networking.v1.NetworkPolicyPeerArgs:
    network, namespace, pods = source.get("network"), source.get("namespace"), source.get("pods")
    if bool(network) is bool(namespace or pods):
        raise ValueError(f"sources: {dict(source)}: say either network, or namespace and pods")
    if network:
        return _block(network)
    return k8s.networking.v1.NetworkPolicyPeerArgs(
        namespace_selector=_namespace(namespace) if namespace else None,
        pod_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=pods) if pods else None,
    )


def _pods(app: str) -> k8s.networking.v1.NetworkPolicyPeerArgs:
    return k8s.networking.v1.NetworkPolicyPeerArgs(
        pod_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(app))
    )


def _namespaces(names: list[str] | None) -> _Peers | None:
    if names is None:
        return None
    return [
        k8s.networking.v1.NetworkPolicyPeerArgs(namespace_selector=_namespace(name))
        for name in names
    ]


def _namespace(name: str) -> k8s.meta.v1.LabelSelectorArgs:
    # Kubernetes gives it to every namespace.
    return k8s.meta.v1.LabelSelectorArgs(match_labels={"kubernetes.io/metadata.name": name})


def _block(
    network: str, but: Sequence[str] | None = None
) -> k8s.networking.v1.NetworkPolicyPeerArgs:
    return k8s.networking.v1.NetworkPolicyPeerArgs(
        ip_block=k8s.networking.v1.IPBlockArgs(cidr=network, except_=but or None)
    )


def _to(
    ports: list[int], peers: _Peers | None
) -> list[k8s.networking.v1.NetworkPolicyIngressRuleArgs]:
    """What lets *peers* in; everybody where that is none, and nobody where there are none."""
    if peers is not None and not peers:
        return []  # to Kubernetes, a rule without peers is one for everybody
    tcp = [k8s.networking.v1.NetworkPolicyPortArgs(port=port, protocol="TCP") for port in ports]
    return [k8s.networking.v1.NetworkPolicyIngressRuleArgs(from_=peers, ports=tcp)]


def _egress(
    denied: Sequence[str], pods: bool
) -> list[k8s.networking.v1.NetworkPolicyEgressRuleArgs] | None:
    """What builds reach: name servers anywhere, and all that is not *denied*; all if nothing is."""
    if not denied and pods:
        return None
    peers = [
        _block(all_of_it, [network for network in denied if _is_in(network, all_of_it)])
        for all_of_it in _EVERYWHERE
        if all_of_it not in denied
    ]
    if pods:
        # Some engines never take a pod's address for one of a network.
        every = k8s.meta.v1.LabelSelectorArgs()
        peers.append(k8s.networking.v1.NetworkPolicyPeerArgs(namespace_selector=every))
    names = [_names(_DNS)]
    if not pods:
        names.append(_names(*_DNS_OF_PODS, to=[_name_server(*each) for each in _NAME_SERVERS]))
    rest = [k8s.networking.v1.NetworkPolicyEgressRuleArgs(to=peers)] if peers else []
    return [*names, *rest]


def _names(*ports: int, to: _Peers | None = None) -> k8s.networking.v1.NetworkPolicyEgressRuleArgs:
    """What lets name servers at these *ports* be asked, anywhere or of those peers."""
    return k8s.networking.v1.NetworkPolicyEgressRuleArgs(
        to=to,
        ports=[
            k8s.networking.v1.NetworkPolicyPortArgs(port=port, protocol=protocol)
            for port in ports
            for protocol in ("UDP", "TCP")
        ],
    )


def _name_server(
    namespace: str, pods: dict[str, str] | None
) -> k8s.networking.v1.NetworkPolicyPeerArgs:
    return k8s.networking.v1.NetworkPolicyPeerArgs(
        namespace_selector=_namespace(namespace),
        pod_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=pods) if pods else None,
    )


def _is_in(network: str, all_of_it: str) -> bool:
    return ip_network(network).version == ip_network(all_of_it).version
