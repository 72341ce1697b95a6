"""NetworkPolicies enforced on the lab's node, where nothing does it otherwise."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab import LabError, build
from lab.network import BRIDGE
from lab.node import Node, until

ENGINE = "enforce-network-policies"
_QUEUE = "97"
# New connections to and from pods; packets pass while nobody reads the queue.
_WAITS = ("-m", "conntrack", "--ctstate", "NEW", "-j", "NFQUEUE", "--queue-num", _QUEUE)
_RULES = (("FORWARD",), ("INPUT", "--in-interface", BRIDGE))


@contextmanager
def enforced(node: Node, directory: Path, *namespaces: str) -> Iterator[None]:
    """The policies of these namespaces hold while this lasts, for connections that begin."""
    engine = build.tools(build.NETWORK_POLICIES) / ENGINE
    log = directory / f"{ENGINE}.log"
    options = (f"--kubeconfig={node.kubeconfig}", f"--queue={_QUEUE}")
    command = node.inside(str(engine), *options, f"--namespaces={','.join(namespaces)}")
    with ExitStack() as ends:
        said = ends.enter_context(log.open("w"))
        process = ends.enter_context(subprocess.Popen(command, stderr=said))
        ends.callback(process.terminate)
        until(
            lambda: log.read_text().endswith(" ready\n"),
            30,
            lambda: LabError(f"{ENGINE} is not ready: {log.read_text()}"),
        )
        for rule in _RULES:
            _iptables(node, "--append", *rule)
            ends.callback(_iptables, node, "--delete", *rule)
        yield
        assert process.poll() is None, log.read_text()


def _iptables(node: Node, *rule: str) -> None:
    command = node.inside("iptables", "--table=mangle", *rule, *_WAITS, "--queue-bypass")
    subprocess.run(command, check=True)
