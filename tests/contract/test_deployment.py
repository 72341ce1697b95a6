"""BuildkitDeployment: what only a Deployment needs."""

import pytest

from tests.contract.workloads import CLAIM, EMPTY_DIR, make


def test_there_is_one_daemon_by_default() -> None:
    assert make("Deployment").object.inputs["spec"]["replicas"] == 1
    assert make("Deployment", replicas=3).object.inputs["spec"]["replicas"] == 3


def test_the_new_pod_is_ready_before_the_old_one_stops() -> None:
    strategy = make("Deployment", volume=EMPTY_DIR).object.inputs["spec"]["strategy"]
    assert strategy == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }


def test_two_pods_never_have_the_same_claim() -> None:
    assert make("Deployment", volume=CLAIM).object.inputs["spec"]["strategy"] == {
        "type": "Recreate"
    }


@pytest.mark.parametrize("replicas", [2, 2.0, 10])
def test_replicas_that_would_share_a_claim_are_refused(replicas: float) -> None:
    with pytest.raises(ValueError, match=r"^buildkitd: replicas: \d+ pods can't share one claim"):
        make("Deployment", volume=CLAIM, replicas=replicas)
