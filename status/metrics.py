"""Numbers of the gateway, in Prometheus' text format.

https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from pulumi_buildkit._envoy import RUNNING_METRIC, WAITING_METRIC

_ENDS = re.compile(
    r'^envoy_listener_ssl_certificate_expiration_unix_time_seconds\{.*envoy_tls_certificate="(\w+)"'
)
# What the gateway calls what clients meet, and what stacks call it.
_NAMES = {"server": "server", "clients": "ca"}


def _numbers(text: str) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            yield name.removesuffix("{}"), float(value)


def running(text: str) -> int:
    """Builds that run or wait."""
    return int(dict(_numbers(text)).get(RUNNING_METRIC, 0))


def waiting(text: str) -> int:
    """Requests that wait for a buildkitd."""
    return int(dict(_numbers(text)).get(WAITING_METRIC, 0))


def ends(text: str) -> dict[str, datetime]:
    """When the certificates end that clients meet."""
    found = ((_ENDS.match(name), value) for name, value in _numbers(text))
    return {_NAMES[m[1]]: datetime.fromtimestamp(value, UTC) for m, value in found if m}
