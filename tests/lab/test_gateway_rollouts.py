"""The gateway itself rolls beneath four clients that build without a pause: they lose nothing."""

import itertools
from collections.abc import Iterator
from typing import Any

from pulumi_buildkit import ENVOY_IMAGE

from lab.engine import merge
from tests.lab.conftest import Configured, Count, Record
from tests.lab.load import KINDS, load
from tests.lab.watch import watched

RETAGGED = "docker.io/envoyproxy/envoy:of-another-name"


def changes() -> Iterator[dict[str, Any]]:
    """What the gateway has to take: in turn an image, a configuration, and certificates."""
    images = itertools.cycle([RETAGGED, ENVOY_IMAGE])
    for number in itertools.count():
        yield {"buildkit:gateway": {"image": next(images), "replicas": 3}}
        yield {"buildkit:gateway": {"hold": 601 + number, "replicas": 1}}
        yield {
            "buildkit:gateway": {"replicas": 2},
            "buildkit:clients": {f"client-{number}": {}},
            "buildkit:certificates": {"sans": [f"builds-{number}.example.com"]},
        }


def test_a_rollout_of_the_gateway_loses_no_build(
    configured: Configured, full: bool, count: Count, record_property: Record
) -> None:
    number = count("changes", 10, 3)
    keys: dict[str, Any] = {}
    installation = configured(keys)
    installation.lab.node.ctr("images", "tag", "--force", ENVOY_IMAGE, RETAGGED)
    with (
        watched(installation, "app=buildkit-gateway") as pods,
        load(installation, longest=25 if full else 6) as clients,
    ):
        clients.wait_until_each_has_built()
        for change in itertools.islice(changes(), number):
            keys = merge(keys, change)
            configured(keys)
    record_property("builds", len(clients.builds))
    record_property("lost", len(clients.lost))
    went = [pod.gone - pod.draining for pod in pods.seen.values() if pod.draining and pod.gone]
    record_property("gateway pods that went", len(went))
    record_property("the last of them had so many s", round(max(went)))
    # Two by the image, three by the configuration; certificates are changed in place.
    assert len(went) >= 5 * (number // 3)
    assert {*clients.kinds} == KINDS
    assert not clients.lost, str(clients)
