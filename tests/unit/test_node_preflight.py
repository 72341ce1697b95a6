"""What `make preflight` reads of its pods, and what it says of them."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from pulumi_buildkit import Security, default_image
from pulumi_buildkit.security import VARIANTS

from preflight import PreflightError, report, trial
from preflight.pods import CONFINED, pod
from preflight.report import ORDER, Kind
from preflight.trial import Outcome, Trial
from tests.recording import REPO

GOOD = Outcome(True, "", {"cgroup": "v2", "fuse": "no", "snapshotter": "overlayfs"})
ROOT = Outcome(True, "", {**GOOD.facts, "fuse": "yes"})
FORBIDDEN = Outcome(False, "user.max_user_namespaces is 0; set it", {"cgroup": "v2"})
ALL = {Security.ROOTLESS: GOOD, Security.USERNS: ROOT, Security.PRIVILEGED: ROOT}


def kind(*names: str, **outcomes: Outcome) -> Kind:
    given = {Security(name): outcome for name, outcome in outcomes.items()}
    return Kind(names, "amd64, Linux 6.8", {**ALL, **given})


def test_the_report_names_the_best_variant_of_each_kind_and_of_all() -> None:
    said = report.text(
        [
            kind("a", "b", "c", "d"),
            kind("old", rootless=FORBIDDEN, userns=Outcome(False, "no runtime for it")),
        ]
    )
    assert said == (
        "NODES            ROOTLESS  USERNS  PRIVILEGED  BEST\n"
        "a, b and 2 more  yes       yes     yes         rootless\n"
        "old              no        no      yes         privileged\n"
        "\n"
        "a, b and 2 more\n"
        "  amd64, Linux 6.8\n"
        "  cgroup v2; /dev/fuse\n"
        "\n"
        "old\n"
        "  amd64, Linux 6.8\n"
        "  cgroup v2; /dev/fuse\n"
        "  rootless: no: user.max_user_namespaces is 0; set it\n"
        "  userns: no: no runtime for it\n"
        "\n"
        "Best for all nodes: buildkit:security: privileged\n"
    )


def test_where_no_variant_runs_on_all_nodes_there_is_a_way_out() -> None:
    no = Outcome(False, "no")
    one, other = kind("a", userns=no, privileged=no), kind("b", rootless=no, privileged=no)
    assert report.best([one, other]) is None
    assert "Keep BuildKit on those where the best one does" in report.text([one, other])
    none = kind("c", rootless=no, userns=no, privileged=no)
    assert report.text([none]).endswith(
        "BuildKit runs on none of these nodes; mend one of the reasons above.\n"
    )
    assert "c      no        no      no          none" in report.text([none])


def test_a_variant_that_does_without_overlayfs_is_told_so() -> None:
    slow = Outcome(True, "", {"snapshotter": "native"})
    said = " ".join(report.text([kind("a", rootless=slow)]).split())
    assert "rootless: yes, but without overlayfs" in said
    assert "the snapshotter is native" in said


def test_facts_that_a_kernel_does_not_have_are_not_made_up() -> None:
    seen = {"user.max_user_namespaces": "7", CONFINED: "forbidden"}
    said = report.text([kind("a", rootless=Outcome(True, "", seen))])
    assert "user.max_user_namespaces = 7" in said
    assert "user namespaces under seccomp RuntimeDefault: forbidden" in said
    assert "apparmor" not in said


@pytest.mark.parametrize("security", Security)
def test_a_pod_is_the_variant_s_own_on_the_node_that_is_named(security: Security) -> None:
    made = pod("one", security, "node-1", None)
    spec = made["spec"]
    assert (made["kind"], made["metadata"]["name"]) == ("Pod", "one")
    assert (spec["nodeName"], spec["restartPolicy"]) == ("node-1", "Never")
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec.get("hostUsers") is VARIANTS[security].host_users
    assert spec["containers"][0]["image"] == default_image(security)


def test_the_confined_container_differs_by_its_seccomp_profile_only() -> None:
    own, confined = pod("one", Security.ROOTLESS, "node-1", None)["spec"]["containers"]
    assert own["securityContext"].pop("seccompProfile") == {"type": "Unconfined"}
    assert confined["securityContext"].pop("seccompProfile") == {"type": "RuntimeDefault"}
    assert own["securityContext"] == confined["securityContext"]
    assert confined["name"] == CONFINED


def test_a_mirror_s_image_has_the_variant_at_its_end() -> None:
    images = {
        security: pod("one", security, "a", "mirror:5000/buildkit:v1")["spec"]["containers"][0][
            "image"
        ]
        for security in Security
    }
    assert images.pop(Security.ROOTLESS) == "mirror:5000/buildkit:v1-rootless"
    assert {*images.values()} == {"mirror:5000/buildkit:v1"}


class Core:
    """An API server that has what it is given."""

    def __init__(self, *pods: Any, log: str = "", events: tuple[Any, ...] = ()) -> None:
        self.pods = pods
        self.log = log
        self.events = events
        self.refusal = ""
        self.deleted: list[str] = []

    def create_namespace(self, body: Any) -> Any:
        if self.refusal:
            raise refusal(self.refusal)
        return SimpleNamespace(metadata=SimpleNamespace(name=body["metadata"]["generateName"]))

    def delete_namespace(self, name: str) -> None:
        self.deleted.append(name)

    def read_namespaced_service_account(self, *_: str) -> None:
        """It is there."""

    def create_namespaced_pod(self, _: str, pod: Any) -> None:
        if self.refusal:
            raise refusal(self.refusal)

    def list_namespaced_pod(self, _: str) -> Any:
        return SimpleNamespace(items=self.pods)

    def read_namespaced_pod_log(self, *_: str, container: str, **__: object) -> Any:
        return SimpleNamespace(
            data=(self.log if container == "buildkitd" else "allowed\n").encode()
        )

    def list_namespaced_event(self, _: str, field_selector: str) -> Any:
        assert field_selector == "involvedObject.uid=1,type=Warning"
        return SimpleNamespace(items=self.events)


def refusal(message: str) -> ApiException:
    error = ApiException(403, "Forbidden")
    error.body = json.dumps({"kind": "Status", "message": message}, separators=(",", ":"))
    return error


def seen(phase: str, waiting: Any = None, *containers: str) -> Any:
    state = SimpleNamespace(waiting=waiting)
    status = SimpleNamespace(
        phase=phase,
        message=None,
        reason=None,
        container_statuses=[SimpleNamespace(state=state)],
    )
    names = [SimpleNamespace(name=name) for name in containers or ("buildkitd",)]
    return SimpleNamespace(
        metadata=SimpleNamespace(name="one", uid="1"),
        status=status,
        spec=SimpleNamespace(containers=names),
    )


@contextmanager
def trying(core: Core) -> Iterator[Trial]:
    tried = Trial(None, 0)  # type: ignore[arg-type]
    tried._core = core
    yield tried


def outcome(core: Core) -> Outcome:
    with trying(core) as tried:
        return tried.run({"one": {}})["one"]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "POLL", 0)


def test_what_a_pod_saw_is_read_from_its_log() -> None:
    log = "kernel=6.8\nuser.max_user_namespaces=7\nsnapshotter=overlayfs\nrootless runs here\n"
    facts = {"kernel": "6.8", "user.max_user_namespaces": "7", "snapshotter": "overlayfs"}
    assert outcome(Core(seen("Succeeded"), log=log)) == Outcome(True, "", facts)
    both = seen("Succeeded", None, "buildkitd", CONFINED)
    assert outcome(Core(both, log=log)).facts == {**facts, CONFINED: "allowed"}


def test_the_last_line_of_a_failure_is_its_reason() -> None:
    log = "kernel=6.8\nrootless can't run here: it is 0; set it\n"
    assert outcome(Core(seen("Failed"), log=log)) == Outcome(
        False, "it is 0; set it", {"kernel": "6.8"}
    )


def test_a_pod_that_the_cluster_refuses_says_whose_word_it_was() -> None:
    core = Core()
    core.refusal = 'admission webhook "no" denied it: privileged'
    assert outcome(core) == Outcome(False, f"the cluster refuses its pod: {core.refusal}")


def test_a_pod_that_will_not_begin_is_not_waited_for() -> None:
    waiting = SimpleNamespace(reason="ImagePullBackOff", message="no such image")
    assert outcome(Core(seen("Pending", waiting))).reason == "ImagePullBackOff: no such image"
    sandbox = SimpleNamespace(
        reason="FailedCreatePodSandBox", message="no idmapped mounts", count=3
    )
    assert outcome(Core(seen("Pending"), events=(sandbox,))).reason == "no idmapped mounts"


def test_a_pod_that_does_not_end_is_told_with_its_last_warning() -> None:
    slow = SimpleNamespace(reason="FailedMount", message="no such mount", count=1)
    said = outcome(Core(seen("Pending"), events=(slow,))).reason
    assert said == "its pod has not ended after 0 s: no such mount"
    assert outcome(Core(seen("Pending"))).reason.endswith("0 s: it is Pending")


def test_the_namespace_of_a_trial_goes_in_any_case() -> None:
    core = Core()
    with trying(core) as tried, pytest.raises(KeyboardInterrupt), tried.namespace() as namespace:
        raise KeyboardInterrupt
    assert core.deleted == [namespace]


def test_who_may_make_no_namespace_is_told_so() -> None:
    core = Core()
    core.refusal = "namespaces is forbidden"
    with (
        trying(core) as tried,
        pytest.raises(PreflightError, match=r"\(namespaces is forbidden\)"),
        tried.namespace(),
    ):
        pass
    assert core.deleted == []


def run(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", "preflight", *(f"{k}={v}" for k, v in variables.items())],
        cwd=REPO,
        capture_output=True,
        text=True,
    )


def test_a_cluster_that_is_away_is_said_in_one_line() -> None:
    result = run(KUBECONFIG="/nowhere")
    assert result.returncode != 0
    (said,) = (line for line in result.stderr.splitlines() if line.startswith("preflight: "))
    assert said.startswith("preflight: the cluster does not answer (")
    assert said.endswith("; name one that does: make preflight KUBECONFIG=~/.kube/config")
    assert "Traceback" not in result.stderr


def test_without_a_kubeconfig_it_is_about_the_lab() -> None:
    command = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "preflight", "KUBECONFIG="],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()[-1]
    # A lab that does not run must not lead to another cluster.
    assert command.startswith('lab="$(.venv/bin/python -m lab env)" && eval "$lab" && ')


def test_rootless_is_the_first_choice_and_the_node_s_root_the_last() -> None:
    assert ORDER[0] is Security.ROOTLESS
    assert ORDER[-1] is Security.PRIVILEGED
    assert {*ORDER} == {*Security}
