"""The node's processes: command line, configuration file and health check of each."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from lab import files, mounts, pki
from lab.network import ADDRESS, BRIDGE, DNS, DOMAIN, NAME, PODS, QUEUE, REGISTRY, SERVICES

PAUSE = "registry.k8s.io/pause:3.10"
CNI_PLUGINS = "/usr/lib/cni"
NETWORK_POLICIES = "enforce-network-policies"
ISSUER = f"https://kubernetes.default.svc.{DOMAIN}"

# What the node answers with 200 when it is healthy. etcd and containerd listen where only the
# node gets, so etcd has a second listener for its metrics and containerd is asked by its socket.
HEALTH = {
    "etcd": f"http://{ADDRESS}:2381/readyz",
    "kube-apiserver": f"https://{ADDRESS}:6443/readyz",
    "kube-controller-manager": f"https://{ADDRESS}:10257/healthz",
    "kube-scheduler": f"https://{ADDRESS}:10259/readyz",
    "kubelet": f"http://{ADDRESS}:10248/healthz",
    "kube-proxy": f"http://{ADDRESS}:10256/healthz",
    NETWORK_POLICIES: f"http://{ADDRESS}:10260/healthz",
}


@dataclass(frozen=True)
class Layout:
    """Where things are: the binaries, and the directory with all that the node writes."""

    tools: Path
    state: Path

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.state / "pki"

    @property
    def config(self) -> Path:
        """Configuration files."""
        return self.state / "config"

    @property
    def logs(self) -> Path:
        """One log for each process, and below `pods` those of the containers."""
        return self.state / "logs"

    @property
    def containerd_socket(self) -> Path:
        """The socket of containerd, from outside as from inside."""
        return mounts.runtime(self.state) / "containerd.sock"

    @property
    def administrator(self) -> Path:
        """The kubeconfig of the cluster's administrator."""
        return self.state / "kubeconfig"

    @property
    def volume_plugins(self) -> Path:
        """Where there is none; the default is a directory of the machine's."""
        return self.state / "kubelet" / "volume-plugins"

    def crt(self, name: str) -> str:
        """A certificate's file."""
        return str(self.pki / f"{name}.crt")

    def key(self, name: str) -> str:
        """A private key's file."""
        return str(self.pki / f"{name}.key")

    def kubeconfig(self, name: str) -> str:
        """The kubeconfig of one of the node's own processes."""
        return str(self.config / f"{name}.kubeconfig")


def etcd(at: Layout) -> dict[str, Any]:
    """The store; its peers' port is bound by need, and it has no peer."""
    return {
        "name": NAME,
        "data-dir": at.state / "etcd",
        "listen-client-urls": "https://127.0.0.1:2379",
        "advertise-client-urls": "https://127.0.0.1:2379",
        "listen-peer-urls": "http://127.0.0.1:2380",
        "initial-advertise-peer-urls": "http://127.0.0.1:2380",
        "initial-cluster": f"{NAME}=http://127.0.0.1:2380",
        "listen-metrics-urls": f"http://{ADDRESS}:2381",
        "cert-file": at.crt("etcd"),
        "key-file": at.key("etcd"),
        "trusted-ca-file": at.crt("etcd-ca"),
        "client-cert-auth": True,
        "logger": "zap",
    }


def containerd(at: Layout) -> dict[str, Any]:
    """The container runtime."""
    return {"config": at.config / "containerd.toml"}


def kube_apiserver(at: Layout) -> dict[str, Any]:
    """The API: RBAC and node authorization, the default admission plugins and NodeRestriction."""
    return {
        "advertise-address": ADDRESS,
        "allow-privileged": True,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "client-ca-file": at.crt("ca"),
        "etcd-servers": "https://127.0.0.1:2379",
        "etcd-cafile": at.crt("etcd-ca"),
        "etcd-certfile": at.crt("etcd-client"),
        "etcd-keyfile": at.key("etcd-client"),
        "kubelet-certificate-authority": at.crt("ca"),
        "kubelet-client-certificate": at.crt("apiserver-kubelet"),
        "kubelet-client-key": at.key("apiserver-kubelet"),
        "kubelet-preferred-address-types": "InternalIP",
        "proxy-client-cert-file": at.crt("front-proxy"),
        "proxy-client-key-file": at.key("front-proxy"),
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-client-ca-file": at.crt("front-proxy-ca"),
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "service-account-issuer": ISSUER,
        "service-account-key-file": at.pki / "service-account.pub",
        "service-account-signing-key-file": at.key("service-account"),
        "service-cluster-ip-range": SERVICES,
        "tls-cert-file": at.crt("apiserver"),
        "tls-private-key-file": at.key("apiserver"),
    }


def kube_controller_manager(at: Layout) -> dict[str, Any]:
    """All controllers, each with its own service account, certificate signing among them."""
    return {
        **_api_client(at, "kube-controller-manager"),
        "bind-address": ADDRESS,
        "cluster-signing-cert-file": at.crt("ca"),
        "cluster-signing-key-file": at.key("ca"),
        "flex-volume-plugin-dir": at.volume_plugins,
        "root-ca-file": at.crt("ca"),
        "service-account-private-key-file": at.key("service-account"),
        "use-service-account-credentials": True,
        # Its start alone is some hundred requests, 4 s at the default rate.
        "kube-api-qps": 300,
        "kube-api-burst": 600,
        # With one instance an election only delays the start after a crash.
        "leader-elect": False,
        # A lease that is renewed after the clock went back looks old: the only node would be
        # taken for dead, and its pods out of their Services, until the clock has caught up.
        "node-monitor-grace-period": "24h",
    }


def kube_scheduler(at: Layout) -> dict[str, Any]:
    """The scheduler."""
    return {
        **_api_client(at, "kube-scheduler"),
        "bind-address": ADDRESS,
        "leader-elect": False,
    }


def kubelet(at: Layout) -> dict[str, Any]:
    """The node's agent."""
    return {
        "config": at.config / "kubelet.json",
        "hostname-override": NAME,
        "kubeconfig": at.kubeconfig("kubelet"),
        "node-ip": ADDRESS,
        "root-dir": at.state / "kubelet",
    }


def kube_proxy(at: Layout) -> dict[str, Any]:
    """Service addresses by iptables; the conntrack table's size is the machine's business."""
    return {
        "cluster-cidr": PODS,
        "conntrack-max-per-core": 0,
        "healthz-bind-address": f"{ADDRESS}:10256",
        "hostname-override": NAME,
        "kubeconfig": at.kubeconfig("kube-proxy"),
        "oom-score-adj": 0,
        "proxy-mode": "iptables",
    }


def enforce_network_policies(at: Layout) -> dict[str, Any]:
    """What lets a connection begin, or not, as NetworkPolicies say."""
    return {
        "health": f"{ADDRESS}:10260",
        "kubeconfig": at.administrator,
        "queue": QUEUE,
    }


def _api_client(at: Layout, name: str) -> dict[str, str]:
    options = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return dict.fromkeys(options, at.kubeconfig(name))


# In the order of their start.
DAEMONS: Mapping[str, Callable[[Layout], dict[str, Any]]] = {
    "containerd": containerd,
    "etcd": etcd,
    "kube-apiserver": kube_apiserver,
    "kube-controller-manager": kube_controller_manager,
    "kube-scheduler": kube_scheduler,
    "kubelet": kubelet,
    "kube-proxy": kube_proxy,
    NETWORK_POLICIES: enforce_network_policies,
}
NEEDED_BY_THE_NEXT = ("containerd", "etcd", "kube-apiserver")


def command(name: str, at: Layout) -> list[str]:
    """The command line of a process."""
    options = {k: str(v).lower() if v in (True, False) else v for k, v in DAEMONS[name](at).items()}
    line = [str(at.tools / name), *(f"--{key}={value}" for key, value in options.items())]
    return mounts.with_own_sysctls(line) if name == "kubelet" else line


def write_configuration(at: Layout) -> None:
    """Write every file that a command line above names, certificates aside."""
    at.config.mkdir(parents=True, exist_ok=True, mode=0o700)
    (at.logs / "pods").mkdir(parents=True, exist_ok=True)
    files.write(at.config / "containerd.toml", tomli_w.dumps(containerd_config(at)))
    files.write(at.config / "kubelet.json", json.dumps(kubelet_config(at), indent=2))
    for name in ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"):
        pki.write_private(Path(at.kubeconfig(name)), pki.kubeconfig(at.pki, name).encode())
    pki.write_private(at.administrator, pki.kubeconfig(at.pki, "admin").encode())
    network = at.config / "cni" / "lab.conflist"
    network.parent.mkdir(exist_ok=True)
    network.write_text(json.dumps(cni_config(), indent=2))
    hosts = at.config / "registries" / REGISTRY / "hosts.toml"
    hosts.parent.mkdir(parents=True, exist_ok=True)
    hosts.write_text(tomli_w.dumps({"server": f"http://{REGISTRY}"}))


def containerd_config(at: Layout) -> dict[str, Any]:
    """The CRI plugin and no more; containerd's root on disk, its state in the node's own /run."""
    runc = {
        "runtime_type": "io.containerd.runc.v2",
        "options": {"BinaryName": str(at.tools / "runc"), "SystemdCgroup": False},
    }
    cri = "io.containerd.cri.v1"
    return {
        "version": 3,
        "root": str(at.state / "containerd"),
        "state": "/run/containerd",
        "imports": [],
        "disabled_plugins": ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"],
        "grpc": {"address": str(at.containerd_socket)},
        "plugins": {
            f"{cri}.images": {
                "pinned_images": {"sandbox": PAUSE},
                "registry": {"config_path": str(at.config / "registries")},
            },
            f"{cri}.runtime": {
                # Lowering it takes CAP_SYS_RESOURCE, which root doesn't have everywhere.
                "restrict_oom_score_adj": True,
                "cni": {"bin_dirs": [CNI_PLUGINS], "conf_dir": str(at.config / "cni")},
                "containerd": {"runtimes": {"runc": runc}},
            },
        },
    }


def kubelet_config(at: Layout) -> dict[str, Any]:
    """The kubelet's settings, where they differ from its defaults."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": at.crt("ca")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{NAME}",
        "clusterDNS": [DNS],
        "clusterDomain": DOMAIN,
        "containerRuntimeEndpoint": f"unix://{at.containerd_socket}",
        # The machine's free disk space is its owner's business: the defaults, in per cent, would
        # evict pods and delete images that no registry has from a large disk with 25 GB free.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "500Mi"},
        "imageGCHighThresholdPercent": 100,
        # A disk that has room again takes pods again at once, not after five minutes.
        "evictionPressureTransitionPeriod": "1s",
        "failCgroupV1": False,
        "failSwapOn": False,
        "healthzBindAddress": ADDRESS,
        "oomScoreAdj": 0,
        "podLogsDir": str(at.logs / "pods"),
        "resolvConf": "",  # the machine's resolvers can't be reached from inside
        "serializeImagePulls": False,
        "tlsCertFile": at.crt("kubelet"),
        "tlsPrivateKeyFile": at.key("kubelet"),
        "volumePluginDir": str(at.volume_plugins),
    }


def cni_config() -> dict[str, Any]:
    """Pods on one bridge; hairpin, so that a pod reaches itself by its Service."""
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]]},
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "lab", "plugins": [bridge, portmap]}
