"""An update ends when the pods have rolled, whatever the Kubernetes provider waits for."""

import asyncio

import pulumi
import pytest

from settings import rolled, rollout
from tests.api_server import Api, Object

STATEFUL_SET = "statefulset/buildkitd"
PATHS = {
    STATEFUL_SET: "/apis/apps/v1/namespaces/build/statefulsets/buildkitd",
    "deployment/buildkitd": "/apis/apps/v1/namespaces/build/deployments/buildkitd",
}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "_POLL", 0.01)


def workload(observed: int = 2, **status: object) -> Object:
    """A workload of the second generation."""
    spec: Object = {"selector": {}, "template": {}, "serviceName": "buildkitd-pods"}
    return {
        "metadata": {"name": "buildkitd", "generation": 2},
        "spec": spec,
        "status": {"observedGeneration": observed, "replicas": 2, **status},
    }


OLD, NEW = "buildkitd-1a2b", "buildkitd-3c4d"
ROLLS = {
    # What the provider before 4.26 takes for the end.
    "a StatefulSet that its controller has not seen": (
        STATEFUL_SET,
        workload(1, currentRevision=OLD, updateRevision=OLD),
    ),
    "a StatefulSet with an old pod": (
        STATEFUL_SET,
        workload(currentRevision=OLD, updateRevision=NEW, updatedReplicas=1),
    ),
    "a Deployment that its controller has not seen": (
        "deployment/buildkitd",
        workload(1, updatedReplicas=2),
    ),
    "a Deployment with an old pod": ("deployment/buildkitd", workload(updatedReplicas=1)),
}
ROLLED = {
    STATEFUL_SET: workload(currentRevision=NEW, updateRevision=NEW),
    "deployment/buildkitd": workload(updatedReplicas=2),
}


def wait_for(name: str, timeout: int = 1) -> str:
    return asyncio.run(rolled(name, "build", timeout))


@pytest.mark.parametrize(("name", "found"), ROLLS.values(), ids=ROLLS)
def test_an_update_fails_where_pods_do_not_roll(name: str, found: Object, api: Api) -> None:
    api.objects[PATHS[name]] = found
    with pytest.raises(pulumi.RunError) as error:
        wait_for(name)
    assert str(error.value) == (
        f"{name} has not rolled after 1 s. What its old pods need is kept. "
        "See `kubectl --namespace build get pods`, and run `pulumi up` again"
    )


@pytest.mark.parametrize(("name", "found"), ROLLS.values(), ids=ROLLS)
def test_an_update_ends_when_the_pods_have_rolled(name: str, found: Object, api: Api) -> None:
    path = PATHS[name]
    api.objects[path] = found

    async def update() -> str:
        waiting = asyncio.create_task(rolled(name, "build", 60))
        while len(api.asked) < 2:
            await asyncio.sleep(0.01)
        assert not waiting.done()
        api.objects[path] = ROLLED[name]
        return await waiting

    assert asyncio.run(update()) == name


def test_no_pods_have_rolled(api: Api) -> None:
    """Scaled to zero, or gone by hand."""
    none = workload(currentRevision=NEW, updateRevision=NEW, replicas=0)
    api.objects[PATHS[STATEFUL_SET]] = none
    assert wait_for(STATEFUL_SET) == STATEFUL_SET
    del api.objects[PATHS[STATEFUL_SET]]
    assert wait_for(STATEFUL_SET) == STATEFUL_SET


def test_a_preview_waits_for_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    assert wait_for(STATEFUL_SET) == STATEFUL_SET
    assert not api.asked


@pytest.mark.parametrize("name", ["pod/buildkitd", "job/build-1a2b3c"])
def test_what_does_not_roll_is_not_waited_for(name: str, api: Api) -> None:
    assert wait_for(name) == name
    assert not api.asked


def test_where_the_cluster_does_not_answer_the_provider_s_wait_has_to_do(api: Api) -> None:
    api.statuses[PATHS[STATEFUL_SET]] = 403
    assert wait_for(STATEFUL_SET) == STATEFUL_SET
