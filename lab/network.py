"""The node's network namespace: addresses, the veth to the host, and what makes it an island.

There is no default route inside, so no packet leaves the machine. What has no route is answered
with "network unreachable" at once instead of being lost, so that mistakes show as such.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lab import LabError

NAME = "buildkit-lab"  # of the network namespace, the cgroup and the Kubernetes node
NAMESPACES = Path("/run/netns")
NAMESPACE = NAMESPACES / NAME
HOST_INTERFACE = "bklab0"
HOST_ADDRESS = "10.231.0.1"
ADDRESS = "10.231.0.2"
LINK = "10.231.0.0/30"
PODS = "10.232.0.0/24"
SERVICES = "10.233.0.0/24"
API_SERVICE = "10.233.0.1"  # the first address of SERVICES: Kubernetes takes it for itself
DNS = "10.233.0.10"
DOMAIN = "cluster.local"
API = f"https://{ADDRESS}:6443"
REGISTRY = f"{ADDRESS}:5000"
BRIDGE = "cni0"
QUEUE = 97  # of packets that wait for a verdict by NetworkPolicies

KERNEL_MODULES = ("br_netfilter", "nfnetlink_queue", "overlay", "veth", "xt_NFQUEUE")

# Each of these is the namespace's own.
SYSCTLS = {
    "net/ipv6/conf/all/disable_ipv6": 1,
    "net/ipv6/conf/default/disable_ipv6": 1,
    "net/ipv4/ip_forward": 1,
    # Replies between two pods of one bridge must pass kube-proxy's address translation.
    "net/bridge/bridge-nf-call-iptables": 1,
}

# kube-proxy puts its rules before these. A service address that reaches them belongs to no
# Service; a new connection from a pod to the host would be answered over the host's own routes.
# The first packet of each connection waits in the queue; without a reader of the queue it passes.
FIREWALL = f"""*mangle
-A FORWARD -m conntrack --ctstate NEW -j NFQUEUE --queue-num {QUEUE} --queue-bypass
-A INPUT -i {BRIDGE} -m conntrack --ctstate NEW -j NFQUEUE --queue-num {QUEUE} --queue-bypass
COMMIT
*filter
-A OUTPUT -d {SERVICES} -j REJECT --reject-with icmp-net-unreachable
-A FORWARD -d {SERVICES} -j REJECT --reject-with icmp-net-unreachable
-A FORWARD -i {BRIDGE} -o eth0 -m conntrack --ctstate NEW -j REJECT --reject-with icmp-net-unreachable
COMMIT
"""  # noqa: E501


def exists() -> bool:
    """Whether all of it is there: the host's end of the link is up, the last step of `create`."""
    state = Path("/sys/class/net", HOST_INTERFACE, "operstate")
    return is_mounted(NAMESPACE) and state.exists() and state.read_text().strip() == "up"


def refuse_if_taken() -> None:
    """Leave alone what has the lab's names while there is no lab.

    Raises:
        LabError: there is such a thing.
    """
    if NAMESPACE.exists():
        raise LabError(
            f"there is a network namespace {NAME} that no lab made: "
            f"if nobody needs it, ip netns delete {NAME}"
        )
    if Path("/sys/class/net", HOST_INTERFACE).exists():
        raise LabError(
            f"there is an interface {HOST_INTERFACE} that no lab made: "
            f"if nobody needs it, ip link delete {HOST_INTERFACE}"
        )
    _check_addresses_are_free()


def create() -> None:
    """Make the namespace, its link to the host, its routes and its firewall."""
    delete()
    _check_addresses_are_free()
    _load_kernel_modules()
    _run("ip", "netns", "add", NAME)
    settings = "; ".join(f"echo {value} > /proc/sys/{key}" for key, value in SYSCTLS.items())
    _run("nsenter", f"--net={NAMESPACE}", "--", "sh", "-ec", settings)
    peer = ("type", "veth", "peer", "name", "eth0", "netns", NAME)
    _run("ip", "link", "add", HOST_INTERFACE, *peer)
    for arguments in (
        ("link", "set", "lo", "up"),
        ("address", "add", f"{ADDRESS}/30", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        # A local connection is routed before kube-proxy translates it: without a route it fails.
        ("route", "add", SERVICES, "dev", "eth0", "src", ADDRESS),
    ):
        _run("ip", "-n", NAME, *arguments)
    restore = ("iptables-restore", "--noflush")
    _run("nsenter", f"--net={NAMESPACE}", "--", *restore, stdin=FIREWALL)
    _run("ip", "address", "add", f"{HOST_ADDRESS}/30", "dev", HOST_INTERFACE)
    _run("ip", "link", "set", HOST_INTERFACE, "addrgenmode", "none", "up")


def delete() -> None:
    """Take link and namespace away, and `ip netns`'s own mount when no other namespace uses it."""
    if Path("/sys/class/net", HOST_INTERFACE).exists():
        _run("ip", "link", "delete", HOST_INTERFACE)
    if NAMESPACE.exists():
        _run("ip", "netns", "delete", NAME)
    if NAMESPACES.is_dir() and not any(NAMESPACES.iterdir()):
        unmount(NAMESPACES)
        with suppress(OSError):
            NAMESPACES.rmdir()


def _check_addresses_are_free() -> None:
    taken = json.loads(_run("ip", "-json", "address", "show", "to", LINK) or "[]")
    names = [link["ifname"] for link in taken if link]
    if names:
        raise LabError(
            f"interface {names[0]} has an address in {LINK}, which the lab needs for its node: "
            "take the address away and try again"
        )


def _load_kernel_modules() -> None:
    """Load what a distribution's kernel has as modules; a kernel with them built in needs none."""
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "-aq", *KERNEL_MODULES], check=False)


def is_mounted(path: Path) -> bool:
    """Whether something is mounted exactly there, a directory bound to itself included."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(path) for line in mounts)


def unmount(path: Path) -> None:
    """Unmount all that is mounted there, even if it is busy."""
    while is_mounted(path):
        _run("umount", "--no-mtab", "--lazy", str(path))


def _run(*command: str, stdin: str | None = None) -> str:
    return run(command, stdin=stdin)


def run(command: Sequence[str], stdin: str | None = None) -> str:
    """Run a system tool; what it says on stderr becomes the error's text."""
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if result.returncode:
        said = " ".join((result.stderr or result.stdout).split())
        raise LabError(f"{' '.join(command)} failed: {said or result.returncode}")
    return result.stdout
