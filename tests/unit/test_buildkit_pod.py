"""Which pod a key's builds go to, against upstream's own tool, and where the pods come from."""

import importlib.metadata
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import buildkit_pod
import pytest
from buildkit_pod import pod_for
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recording import REPO

PAGE = REPO / "docs" / "consistent-hashing.md"
HERE = Path(__file__).resolve().parent
UPSTREAM = "github.com/moby/buildkit/examples/kubernetes/consistenthash"
KEYS_A_LIST = 100  # for lists of 1 to 100 pods: 10,000 keys


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Upstream's tool, built from the module's own source."""
    tool = tmp_path_factory.mktemp("upstream") / "consistenthash"
    environment = {"GOWORK": "off", "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
    done = subprocess.run(
        ["go", "build", "-o", str(tool), UPSTREAM],
        cwd=HERE / "consistenthash",
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return tool


def answers(tool: Path, nodes: Path, keys: list[str]) -> list[str]:
    """What upstream's tool prints for each key: it takes one a run."""
    every = 'tool=$1 nodes=$2; shift 2; for key; do "$tool" "$key" <"$nodes" || exit; done'
    command = ["sh", "-c", every, "sh", str(tool), str(nodes), *keys]
    environment = {**os.environ, "GOMAXPROCS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def some_pods(chosen: random.Random, count: int) -> list[str]:
    """A list of so many, in any order, with pods that are there more than once."""
    name = chosen.choice(["node-{}", "buildkitd-{}", "{}.build.example.com", "x{}x"])
    distinct = [name.format(number) for number in chosen.sample(range(200), count)]
    pods = distinct + chosen.choices(distinct, k=chosen.randrange(4))
    chosen.shuffle(pods)
    return pods


def some_keys(chosen: random.Random, pods: list[str]) -> list[str]:
    """Keys of every kind: projects, any text, bytes that are no text, places of the pods' own."""
    kinds: list[Callable[[], str]] = [
        lambda: f"github.com/team-{chosen.randrange(99)}/project:{chosen.randbytes(4).hex()}",
        lambda: "".join(map(chr, chosen.choices(range(1, 0xD800), k=5))) + "📦",
        lambda: os.fsdecode(chosen.randbytes(8).replace(b"\0", b"")),
        lambda: f"{chosen.choice(pods)}-0",
        lambda: " " * chosen.randrange(3),
    ]
    return [chosen.choice(kinds)() for _ in range(KEYS_A_LIST)]


def test_ten_thousand_keys_have_upstreams_answers(upstream: Path, tmp_path: Path) -> None:
    chosen = random.Random(33)
    lists = [some_pods(chosen, count) for count in range(1, 101)]
    keys = [some_keys(chosen, pods) for pods in lists]
    files = [tmp_path / str(number) for number in range(len(lists))]
    for file, pods in zip(files, lists, strict=True):
        file.write_text("\n".join(pods))
    with ThreadPoolExecutor(2) as pool:
        theirs = list(pool.map(answers, [upstream] * len(files), files, keys))
    assert sum(map(len, theirs)) == 10_000
    ours = [[pod_for(key, pods) for key in some] for some, pods in zip(keys, lists, strict=True)]
    assert ours == theirs


@pytest.mark.parametrize(
    ("key", "pod"), [("apple", "node-48"), ("banana", "node-62"), ("chocolate", "node-56")]
)
def test_the_keys_of_upstreams_example(key: str, pod: str) -> None:
    assert pod_for(key, (f"node-{number}" for number in range(1, 101))) == pod


PODS = st.lists(st.from_regex(r"[a-z]{1,3}-[0-9]{1,2}", fullmatch=True), min_size=2, unique=True)


@settings(deadline=None)
@given(key=st.text(), pods=PODS, data=st.data())
def test_a_pod_that_goes_moves_its_own_keys_only(
    key: str, pods: list[str], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(pods))
    before = pod_for(key, pods)
    after = pod_for(key, [pod for pod in pods if pod != gone])
    assert after != gone
    assert after == before or before == gone


def shares(replicas: int) -> list[float]:
    """Of each pod of the stack's StatefulSet, what part of all keys it gets."""
    places = sorted(buildkit_pod._place(f"buildkitd-{number}-0") for number in range(replicas))
    points = [high for high, _ in places]
    before = points[-1:] + points[:-1]
    return [(to - since) % 2**64 / 2**64 for since, to in zip(before, points, strict=True)]


def test_the_shares_on_the_page_are_those_of_the_ring() -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+) % \| (\d+) % \|$", PAGE.read_text(), re.M)
    assert len(rows) > 4
    for replicas, most, least in rows:
        found = shares(int(replicas))
        assert (f"{max(found):.0%}", f"{min(found):.0%}") == (f"{most}%", f"{least}%")


# The command, as a CI image has it that has nothing but Python: no site-packages.
COMMAND = [sys.executable, "-I", "-S", buildkit_pod.__file__]
KUBECTL = """#!/bin/sh
printf '%s\\n' "$@" > "$0.arguments"
/bin/cat "$0.json"
"""


def said(*arguments: str, stdin: str | None = None, path: Path | None = None) -> str:
    """What the command prints, or what its error says in one line."""
    source: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    done = subprocess.run(
        [*COMMAND, *arguments],
        env={"PATH": str(path) if path else ""},
        **source,
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) != (done.stdout == ""), done.stderr
    (line,) = (done.stdout + done.stderr).splitlines()
    return line


def pod(
    name: str, ready: str = "True", going: bool = False, owner: str = "buildkitd"
) -> dict[str, Any]:
    """A pod, in so far as it matters here, as Kubernetes lists it."""
    return {
        "metadata": {
            "name": name,
            "ownerReferences": [{"kind": "StatefulSet", "name": owner}],
            **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if going else {}),
        },
        "status": {
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": ready},
            ]
        },
    }


@pytest.fixture
def cluster(tmp_path: Path) -> Callable[..., Path]:
    """A cluster with these pods: the PATH with its kubectl."""

    def having(*pods: dict[str, Any]) -> Path:
        kubectl = tmp_path / "kubectl"
        kubectl.write_text(KUBECTL)
        kubectl.chmod(0o755)
        (tmp_path / "kubectl.json").write_text(json.dumps({"items": pods}))
        return tmp_path

    return having


@pytest.mark.parametrize("arguments", [(), ("-",)], ids=["piped", "asked for"])
def test_the_pods_are_read_as_upstreams_tool_reads_them(
    arguments: tuple[str, ...], upstream: Path, tmp_path: Path
) -> None:
    nodes = tmp_path / "nodes"
    nodes.write_bytes(b"\n  node-3 \r\nnode-1\n\n\tnode-2\nnode-1")
    keys = ["apple", "", "ключ", "a b", "node-1-0", os.fsdecode(b"\xff\xfe")]
    ours = [said(key, *arguments, stdin=nodes.read_bytes().decode()) for key in keys]
    assert ours == answers(upstream, nodes, keys)


def test_a_build_goes_to_none_but_the_ready_pods_of_the_stateful_set(
    cluster: Callable[..., Path],
) -> None:
    path = cluster(
        pod("buildkitd-0", ready="False"),
        pod("buildkitd-1", going=True),
        pod("buildkitd-2"),
        pod("other-0", owner="other"),
        {"metadata": {"name": "buildkitd-trial"}, "status": pod("x")["status"]},
        {**pod("buildkitd-3"), "status": {}},
    )
    assert {said(str(key), path=path) for key in range(9)} == {"buildkitd-2"}
    assert said("key", "--statefulset=other", path=path) == "other-0"


def test_kubectl_is_asked_for_what_the_options_say(cluster: Callable[..., Path]) -> None:
    path = cluster(pod("any-0", owner="of another name"))
    options = ["--context=ci", "--namespace=build", "--selector=app=buildkitd"]
    # What is piped in belongs to somebody else then, as in a loop over a file of projects.
    assert said("key", *options, stdin="not-a-pod", path=path) == "any-0"
    asked = (path / "kubectl.arguments").read_text().split()
    assert asked[:3] == ["get", "pods", "--output=json"]
    assert set(options) < set(asked)


@pytest.mark.parametrize(
    ("arguments", "stdin", "error"),
    [
        (["key", "-"], " \n", "standard input names no pod; with --namespace the cluster is asked"),
        (
            ["key"],
            "NAME  READY\nbuildkitd-0  1/1\n",
            "standard input has 'NAME  READY': names of pods alone are read, one a line",
        ),
        (["key", "-", "-nbuild"], "", "`-` asks no cluster: leave it out, or --namespace"),
        (["key"], None, "kubectl is not on the PATH; kube-pod:// needs it too"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], stdin: str | None, error: str) -> None:
    assert said(*arguments, stdin=stdin) == f"buildkit-pod: {error}"


def test_a_cluster_without_a_ready_pod_is_named(cluster: Callable[..., Path]) -> None:
    path = cluster(pod("buildkitd-0", ready="False"))
    error = "buildkit-pod: no pod of the StatefulSet buildkitd in build is ready, of 1"
    assert said("key", "--namespace=build", path=path) == error


def test_what_kubectl_says_is_passed_on(tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\necho 'error: context \"x\" does not exist' >&2; exit 1\n")
    kubectl.chmod(0o755)
    done = subprocess.run(
        [*COMMAND, "key", "--context=x"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stderr.splitlines() == [
        'error: context "x" does not exist',
        "buildkit-pod: kubectl could not list the pods",
    ]
    assert done.returncode == 1


def test_no_pods_are_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^no pods to choose from$"):
        pod_for("key", [])


def test_the_package_installs_the_command() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="buildkit-pod")
    assert script.load() is buildkit_pod.main
