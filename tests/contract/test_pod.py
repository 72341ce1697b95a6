"""BuildkitPod: what only a Pod needs."""

from tests.contract.workloads import NO_PORT, make


def test_a_pod_that_can_t_change_is_replaced_and_the_old_one_goes_first() -> None:
    request = make("Pod").object.request
    # Two of one name can't be.
    assert request.deleteBeforeReplace
    assert [*request.replaceOnChanges] == ["spec"]


def test_its_labels_are_those_that_the_service_looks_for() -> None:
    made = make("Pod")
    selector = made.recording.one("Service").inputs["spec"]["selector"]
    assert selector.items() <= made.object.inputs["metadata"]["labels"].items()


def test_there_is_one_pod_for_kube_pod() -> None:
    made = make("Pod", **NO_PORT)
    assert made.outputs["pods"] == [made.object.inputs["metadata"]["name"]] == ["buildkitd"]
