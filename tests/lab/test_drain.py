"""The hook that lets builds end, where its limits are seconds: with a buildctl that says what it is
told, in namespaces of its own, as `/proc` is all that the hook knows of clients."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pulumi_buildkit import _drain

ONE = "TYPE REF\nSTARTED abc\nCOMPLETE def\n"
NONE = "TYPE REF\nCOMPLETE abc\nCOMPLETE def\n"
DEAF = ""
# A pod's first process, whose standard error is the container's log.
POD = """\
import socket, subprocess, sys
script, limit, *clients = sys.argv[1:]
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
server = socket.create_server(("127.0.0.1", 1234))
connected = [(socket.create_connection(("127.0.0.1", 1234)), server.accept()) for _ in clients]
listener = subprocess.Popen(["sleep", "600"])
open("listener", "w").write(str(listener.pid))
hook = subprocess.run(["sh", "-c", script, "drain", "unix:///none", "listener", limit])
listener.wait()
sys.exit(hook.returncode)
"""
# Says what is in the files 1, 2, … one after the other, and the last one for ever.
BUILDCTL = """\
#!/bin/sh
n=$(($(cat asked) + 1))
[ -e $n ] && echo $n >asked
cat "$(cat asked)"
[ -s "$(cat asked)" ]
"""


@pytest.mark.parametrize(
    ("answers", "clients", "limit", "code", "said"),
    [
        ([NONE], 0, 60, 0, r"done after [2-4] s"),
        ([ONE], 0, 60, 0, r"done after [2-4] s"),
        ([NONE], 2, 60, 0, r"done; 2 clients are connected and have built nothing for 4 s"),
        ([ONE, ONE, ONE, NONE], 1, 60, 0, r"done; 1 clients are connected"),
        ([ONE], 1, 6, 1, r"cuts 1 builds and 1 clients: the limit of 6 s is over"),
        ([ONE, DEAF, DEAF, NONE], 1, 60, 0, r"done; 1 clients are connected"),
        ([ONE, DEAF], 1, 60, 1, r"buildkitd has not answered for 5 s"),
    ],
    ids=["idle", "an orphan", "no build", "after a build", "limit", "slow answer", "no answer"],
)
def test_a_drain_lasts_as_long_as_a_build_and_no_longer(
    tmp_path: Path, answers: list[str], clients: int, limit: int, code: int, said: str
) -> None:
    for number, answer in enumerate(answers, start=1):
        (tmp_path / f"{number}").write_text(answer)
    (tmp_path / "asked").write_text("0\n")
    (tmp_path / "buildctl").write_text(BUILDCTL)
    (tmp_path / "buildctl").chmod(0o755)
    script = _drain.script("drain_buildkitd.sh")
    for wait, shorter in (
        ("quiet=5", "quiet=2"),
        ("unused=120", "unused=4"),
        ("deaf=120", "deaf=5"),
    ):
        assert wait in script
        script = script.replace(wait, shorter)
    result = subprocess.run(
        [
            *("unshare", "--net", "--pid", "--fork", "--mount-proc", sys.executable, "-c", POD),
            *(script, str(limit), *["client"] * clients),
        ],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert re.search(rf"^drain: {said}", result.stderr, re.MULTILINE), result.stderr
    assert result.returncode == code
