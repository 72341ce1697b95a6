"""NodePreflight: a Job on one node of each kind."""

from typing import Any

import pytest
from pulumi_buildkit import NodePreflight, Security
from pulumi_buildkit.security import VARIANTS

from tests.contract.test_provider import construct
from tests.recording import Recording, record

KINDS = {"amd64-6-8-0-1a2b": "node-1", "arm64-6-8-0-3c4d": "node-7"}


def make(**args: Any) -> Recording:
    merged: Any = {"namespace": "build", **args}
    return record(lambda: NodePreflight("preflight", merged))


def specs(made: Recording) -> dict[str, dict[str, Any]]:
    return {job.name: job.inputs["spec"]["template"]["spec"] for job in made.of("Job")}


def test_each_kind_of_node_has_a_job_on_the_node_that_is_given() -> None:
    made = specs(make(nodes=KINDS))
    assert {name: spec["nodeName"] for name, spec in made.items()} == {
        f"preflight-{kind}": node for kind, node in KINDS.items()
    }


def test_without_a_node_kubernetes_chooses_one() -> None:
    (spec,) = specs(make()).values()
    assert "nodeName" not in spec


@pytest.mark.parametrize("security", Security)
def test_it_runs_as_buildkitd_does(security: Security) -> None:
    daemon = {"security": security, "resources": {"limits": {"memory": "4Gi"}}}
    (spec,) = specs(make(daemon=daemon)).values()
    variant = VARIANTS[security]
    (container,) = spec["containers"]
    assert container["image"] == variant.image
    assert spec.get("hostUsers") is variant.host_users
    # A quota may ask for limits, and a full node has room for no request.
    assert container["resources"] == {"limits": {"memory": "4Gi"}, "requests": {"memory": "0"}}
    assert variant.data_directory in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert "/certs" not in str(container["volumeMounts"])
    assert container["command"][4:] == [
        security.value,
        variant.socket,
        variant.buildkitd,
        *variant.buildkitd_args,
    ]


def test_it_is_not_traced() -> None:
    (spec,) = specs(make(daemon={"traces": {"endpoint": "http://collector:4317"}})).values()
    assert "env" not in spec["containers"][0]


def test_the_reason_is_the_error_of_the_update() -> None:
    made = make(nodes=KINDS, update_timeout=90)
    for job in made.of("Job"):
        spec = job.inputs["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
        assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 90)
        assert job.request.customTimeouts.create == "90s"
        # What has failed runs again.
        assert job.inputs["metadata"]["annotations"]["pulumi.com/replaceUnready"] == "true"


def test_what_takes_its_namespace_waits_for_all_jobs() -> None:
    assert make(nodes=KINDS).outputs_of("NodePreflight").values == {"namespace": "build"}


def test_a_preview_knows_its_namespace() -> None:
    args: Any = {"namespace": "build", "nodes": KINDS}
    made = record(lambda: NodePreflight("preflight", args), preview=True)
    assert made.outputs_of("NodePreflight").values == {"namespace": "build"}


def test_a_hosted_one_takes_maps_and_floats() -> None:
    made = construct("NodePreflight", namespace="build", nodes=KINDS, updateTimeout=30.0)
    assert {job.request.customTimeouts.create for job in made.of("Job")} == {"30s"}
