"""The pods of a gateway and their Envoys, seen from the node."""

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pulumi_buildkit import _envoy

from tests.lab.conftest import Installation
from tests.lab.containers import kilobytes, named

REACHED_WITHIN = 120  # seconds in which a changed file is promised to have reached Envoy
FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=10).read().decode())"


@dataclass(frozen=True)
class Envoy:
    """One gateway pod's Envoy."""

    pod: str
    pid: int

    def memory(self) -> int:
        """What it has of the machine's memory, in bytes."""
        return kilobytes(self.pid, "VmRSS") * 1024

    def most_memory(self) -> int:
        """The most that it had since `forget_most_memory`."""
        return kilobytes(self.pid, "VmHWM") * 1024

    def forget_most_memory(self) -> None:
        """Count from what it has now (proc_pid_clear_refs(5))."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def connections_to_buildkitd(self) -> list[str]:
        """A line for each, with its timers."""
        to_buildkitd = ("state", "established", "dport", "=", ":1234")
        return self._inside("ss", "-Htno", *to_buildkitd).splitlines()

    def statistic(self, name: str) -> int:
        """The value of one of Envoy's own statistics."""
        return self.statistics(f"^{name}$")[name]

    def statistics(self, pattern: str) -> dict[str, int]:
        """Those whose names have the *pattern* in them."""
        url = f"http://127.0.0.1:{_envoy.ADMIN_PORT}/stats?filter={quote(pattern)}"
        said = self._inside(sys.executable, "-c", FETCH, url)
        return {name: int(value) for name, value in re.findall(r"(?m)^(\S+): (\d+)$", said)}

    def _inside(self, *command: str) -> str:
        enter = ("nsenter", f"--net=/proc/{self.pid}/ns/net", "--")
        return subprocess.run(
            [*enter, *command], capture_output=True, text=True, check=True, timeout=60
        ).stdout


def envoys(installation: Installation) -> list[Envoy]:
    """Those of the gateway's pods that are there to stay."""
    pods = installation.pods("buildkit-gateway")
    assert pods
    return [Envoy(pod, _process(installation, pod)) for pod in pods]


def active(installation: Installation) -> dict[str, dict[str, int]]:
    """Connections and requests of clients, where there are any, by the pods that have them.

    Somebody who reads the gateway's numbers is none.
    """
    gauges = r"^(http\.buildkit|cluster)\..*(cx|rq|pending)_active$"
    found = {
        envoy.pod: {
            name: value
            for name, value in envoy.statistics(gauges).items()
            if value and not name.startswith("cluster.admin.")
        }
        for envoy in envoys(installation)
    }
    return {pod: values for pod, values in found.items() if values}


def look_at_files(installation: Installation) -> None:
    """Have the kubelet bring the pods' files up to date now, and not within the minute."""
    for pod in installation.pods("buildkit-gateway"):
        installation.kubectl("annotate", f"pod/{pod}", f"looked-at={time.time_ns()}", "--overwrite")


def _process(installation: Installation, pod: str) -> int:
    """The pod's Envoy."""
    (pid,) = named(installation, "envoy", f"pod/{pod}")
    return pid
