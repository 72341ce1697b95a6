"""What the gateway's pods say of themselves, asked with what Envoy's image has."""

import re

from tests.lab.conftest import Installation

STATISTICS = r"""
exec 3<>/dev/tcp/127.0.0.1/9901
printf 'GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
cat <&3
"""
GAUGE = r"(?m)^((?:http\.buildkit|cluster)\.\S*(?:cx|rq|pending)_active): ([1-9]\d*)"


READY = "{.items[?(@.status.containerStatuses[0].ready==true)].metadata.name}"


def active(installation: Installation) -> dict[str, dict[str, int]]:
    """Connections and requests, where there are any, by the pods that have them."""
    pods = ("get", "pods", "--selector=app=buildkit-gateway", f"--output=jsonpath={READY}")
    found = {name: _active(installation, name) for name in installation.kubectl(*pods).split()}
    return {name: gauges for name, gauges in found.items() if gauges}


def _active(installation: Installation, pod: str) -> dict[str, int]:
    said = installation.kubectl("exec", pod, "--", "bash", "-c", STATISTICS)
    return {name: int(value) for name, value in re.findall(GAUGE, said)}
