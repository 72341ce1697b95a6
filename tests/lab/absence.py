"""What is not there for a while: no pod of it, or no way to it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.lab.conftest import Installation
from tests.lab.containers import BUILDKITD, processes


@contextmanager
def no_buildkitd(installation: Installation) -> Iterator[None]:
    """There is none while this lasts, and connects are refused."""
    with no_replicas(installation, installation.outputs["workload"]):
        going = "--for=jsonpath={.metadata.deletionTimestamp}"
        installation.kubectl("wait", *BUILDKITD, going, "--timeout=60s")
        # Its drain takes its time, and is another test's.
        for pid in processes(installation, *BUILDKITD):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        installation.kubectl("wait", *BUILDKITD, "--for=delete", "--timeout=60s")
        yield


@contextmanager
def no_replicas(installation: Installation, workload: str) -> Iterator[None]:
    """A *workload*, `deployment/NAME`, is scaled to none while this lasts."""
    replicas = installation.kubectl("get", workload, "--output=jsonpath={.spec.replicas}")
    installation.kubectl("scale", workload, "--replicas=0")
    try:
        yield
    finally:
        installation.kubectl("scale", workload, f"--replicas={replicas}")
        installation.kubectl("rollout", "status", workload, "--timeout=60s")


@contextmanager
def nothing_answers_at(installation: Installation, address: str) -> Iterator[None]:
    """Packets to an address are lost while this lasts."""
    rule = ("PREROUTING", "--destination", address, "--jump", "DROP")

    def iptables(verb: str) -> None:
        command = installation.lab.node.inside("iptables", "--table=raw", verb, *rule)
        assert installation.run(*command).returncode == 0

    iptables("--insert")
    try:
        yield
    finally:
        iptables("--delete")
