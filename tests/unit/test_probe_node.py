"""What the probe says of a node, with programs that do as they would there."""

import os
import subprocess
from pathlib import Path

import pytest
from pulumi_buildkit import _script

PROBE = _script.command("sh", ("probe_node.sh",))

# Reads the files of a made-up /proc where there are such.
READER = """#!/bin/sh
for argument; do
    shift
    case $argument in
        /proc/*) [ ! -e "$PROC${argument#/proc}" ] || argument=$PROC${argument#/proc} ;;
    esac
    set -- "$@" "$argument"
done
exec /usr/bin/%s "$@"
"""
WHOLE = "0 0 4294967295\n"
OWN = "0 3728015360 65536\n"
FREE = "NoNewPrivs:\t0\nSeccomp:\t0\n"
WORKERS = "\\torg.mobyproject.buildkit.worker.snapshotter:\\t\\toverlayfs\\n"


class Node:
    """A node with a /proc and programs of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.proc({"self/status": FREE, "self/uid_map": WHOLE})
        for name in ("cat", "sed", "awk"):
            self.program(name, READER % name)
        self.program("buildctl", "#!/bin/sh\nexit 1\n")
        self.user(1000)

    def proc(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            file = self._directory / "proc" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def program(self, name: str, text: str) -> None:
        file = self._directory / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def user(self, number: int) -> None:
        self.program("id", f"#!/bin/sh\necho {number}\n")

    def probe(self, variant: str) -> subprocess.CompletedProcess[str]:
        bin_directory = self._directory / "bin"
        return subprocess.run(
            [*PROBE, variant, "unix:///nowhere", "buildkitd"],
            env={
                "PATH": f"{bin_directory}:{os.environ['PATH']}",
                "PROC": str(self._directory / "proc"),
                "TMPDIR": str(self._directory),
            },
            capture_output=True,
            text=True,
        )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def failing(words: str) -> str:
    return f"#!/bin/sh\necho '{words}' >&2\nexit 1\n"


REASONS: dict[str, tuple[dict[str, str], str]] = {
    "no user namespaces": (
        {"sys/user/max_user_namespaces": "0\n"},
        "user.max_user_namespaces is 0",
    ),
    "Debian's switch": (
        {"sys/kernel/unprivileged_userns_clone": "0\n"},
        "kernel.unprivileged_userns_clone is 0",
    ),
    "Ubuntu's switch": (
        {"sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"},
        "AppArmor takes all rights in user namespaces away",
    ),
    "a filter": (
        {"self/status": "NoNewPrivs:\t0\nSeccomp:\t2\n"},
        "the pod has a seccomp filter, though it asks for none",
    ),
    "no new privileges": (
        {"self/status": "NoNewPrivs:\t1\nSeccomp:\t0\n"},
        "the pod may gain no privileges",
    ),
    "something else": ({}, "operation not permitted"),
}


@pytest.mark.parametrize(("files", "reason"), REASONS.values(), ids=REASONS)
def test_rootless_that_can_t_run_says_by_what(
    node: Node, files: dict[str, str], reason: str
) -> None:
    node.proc(files)
    node.program("rootlesskit", failing("operation not permitted"))
    result = node.probe("rootless")
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1].startswith(f"rootless can't run here: {reason}")


def test_switches_that_leave_user_namespaces_alone_are_no_reason(node: Node) -> None:
    node.proc(
        {
            "sys/user/max_user_namespaces": "7\n",
            "sys/kernel/unprivileged_userns_clone": "1\n",
            "sys/kernel/apparmor_restrict_unprivileged_userns": "0\n",
        }
    )
    node.program("rootlesskit", failing('time="x" level=fatal msg="no uid_map"'))
    assert node.probe("rootless").stdout.splitlines()[-1] == "rootless can't run here: no uid_map"


def test_what_root_may_do_does_not_depend_on_them(node: Node) -> None:
    node.user(0)
    node.proc({"sys/user/max_user_namespaces": "0\n", "self/status": "Seccomp:\t2\n"})
    node.program("buildkitd", failing("no mounts"))
    assert (
        node.probe("privileged").stdout.splitlines()[-1] == "privileged can't run here: no mounts"
    )


def test_userns_without_a_user_namespace_does_not_even_start(node: Node) -> None:
    node.user(0)
    node.program("buildkitd", failing("started"))
    said = node.probe("userns").stdout.splitlines()[-1]
    assert said.startswith("userns can't run here: the pod got no user namespace")
    node.proc({"self/uid_map": OWN})
    assert node.probe("userns").stdout.splitlines()[-1] == "userns can't run here: started"


def test_a_build_that_fails_is_the_reason(node: Node) -> None:
    node.program("rootlesskit", "#!/bin/sh\nexec sleep 9\n")
    node.program(
        "buildctl",
        f"#!/bin/sh\n[ $3 = debug ] || {{ echo 'no runc' >&2; exit 1; }}\nprintf '{WORKERS}'\n",
    )
    result = node.probe("rootless")
    assert result.returncode == 1
    assert result.stdout.splitlines()[-2:] == [
        "snapshotter=overlayfs",
        "rootless can't run here: no runc",
    ]


def test_a_build_that_ends_is_the_proof(node: Node) -> None:
    node.program("rootlesskit", "#!/bin/sh\nexec sleep 9\n")
    node.program("buildctl", f"#!/bin/sh\n[ $3 != debug ] || printf '{WORKERS}'\n")
    result = node.probe("rootless")
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == "rootless runs here"
