"""A path to the node that silently forgets idle connections, as load balancers and NAT gateways do.

    client's namespace ── router's namespace ── node's namespace

The router tracks connections. A packet of one that it has forgotten is dropped, in both directions,
and nobody is told. Both namespaces exist as long as a process of each, which reads the tests'
pipe: they end with the tests, however those end, and with them the links, the settings and
whatever still runs inside.
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from lab import network
from lab.network import ADDRESS

NODE_LINK = "path0"  # in the node's namespace
CLIENT, ROUTER_TO_CLIENT = "10.231.0.10", "10.231.0.9"
ROUTER_TO_NODE, NODE = "10.231.0.5", "10.231.0.6"
CLIENTS = "10.231.0.8/30"
FORGOTTEN = "-A FORWARD -m conntrack --ctstate INVALID -j DROP"


@dataclass(frozen=True)
class Namespace:
    """Network and processes of their own, by the process that keeps them."""

    pid: int

    def inside(self, *command: str) -> list[str]:
        of = f"/proc/{self.pid}/ns"
        return ["nsenter", f"--net={of}/net", f"--pid={of}/pid_for_children", "--", *command]

    def run(self, *command: str, stdin: str | None = None) -> str:
        return network.run(self.inside(*command), stdin=stdin)


@dataclass(frozen=True)
class IdlePath:
    """The two namespaces between a client and the node."""

    client: Namespace
    router: Namespace

    def inside(self, *command: str) -> list[str]:
        """A client's command that goes along the path."""
        return self.client.inside(*command)

    @contextmanager
    def cut(self) -> Iterator[None]:
        """All packets are lost on the way while this lasts, and no connection is forgotten."""
        self.router.run("iptables", "--insert", "FORWARD", "--jump", "DROP")
        try:
            yield
        finally:
            self.router.run("iptables", "--delete", "FORWARD", "--jump", "DROP")

    def dropped(self) -> int:
        """How many packets were of a connection that the router had forgotten."""
        rules = self.router.run("iptables-save", "--counters", "--table=filter")
        found = re.search(rf"\[(\d+):\d+\] {re.escape(FORGOTTEN)}", rules)
        assert found, rules
        return int(found[1])


@contextmanager
def idle_path(limit: int) -> Iterator[IdlePath]:
    """A path that forgets a connection after *limit* seconds without a packet."""
    with ExitStack() as stack:
        path = IdlePath(*(stack.enter_context(_namespace()) for _ in range(2)))
        stack.callback(_unlink)
        _link(path)
        settings = {
            "net/ipv4/ip_forward": 1,
            "net/netfilter/nf_conntrack_tcp_timeout_established": limit,
            "net/netfilter/nf_conntrack_tcp_loose": 0,
        }
        path.router.run("iptables-restore", stdin=f"*filter\n{FORGOTTEN}\nCOMMIT\n")
        for key, value in settings.items():
            path.router.run("sh", "-ec", f"echo {value} > /proc/sys/{key}")
        yield path


@contextmanager
def _namespace() -> Iterator[Namespace]:
    ready = ("sh", "-c", "echo; exec cat")
    with subprocess.Popen(
        ["unshare", "--net", "--pid", "--fork", *ready],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"\n"
        yield Namespace(process.pid)


def _link(path: IdlePath) -> None:
    """Connect the three; there is nothing else that they could reach."""
    _unlink()
    client, router, node = str(path.client.pid), str(path.router.pid), network.NAME
    for name, namespace, peer, other in (
        ("eth0", client, "client", router),
        ("node", router, NODE_LINK, node),
    ):
        end = ("type", "veth", "peer", "name", peer, "netns", other)
        network.run(["ip", "link", "add", name, "netns", namespace, *end])
    for run, name, address in (
        (path.client.run, "eth0", CLIENT),
        (path.router.run, "client", ROUTER_TO_CLIENT),
        (path.router.run, "node", ROUTER_TO_NODE),
        (_run_at_node, NODE_LINK, NODE),
    ):
        run("ip", "address", "add", f"{address}/30", "dev", name)
        run("ip", "link", "set", name, "up")
    path.client.run("ip", "route", "add", "default", "via", ROUTER_TO_CLIENT)
    path.router.run("ip", "route", "add", ADDRESS, "via", NODE)
    _run_at_node("ip", "route", "add", CLIENTS, "via", ROUTER_TO_NODE)


def _unlink() -> None:
    """Take the node's end away: the kernel does it too, some time after a namespace has ended."""
    if NODE_LINK in _run_at_node("ls", "/proc/sys/net/ipv4/conf"):
        _run_at_node("ip", "link", "delete", NODE_LINK)


def _run_at_node(*command: str) -> str:
    return network.run(["nsenter", f"--net={network.NAMESPACE}", "--", *command])
