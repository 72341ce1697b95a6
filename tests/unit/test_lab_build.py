"""Building the lab's programs once: keys, forecasts, interruptions and two builders at once."""

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lab import LabError, build, image_store, progress

RUNC = next(tool for tool in build.TOOLS if tool.name == "runc")

GO = """#!/bin/sh
# Stands in for go: a program's content is its package; what FAIL names does not compile.
case "$1" in
env) echo go1.26.8; exit ;;
esac
for package; do :; done
while [ "$1" != -o ]; do shift; done
echo "$package" >> "$GO_LOG"
case "$package" in *"${FAIL:-nothing}") echo "${REASON:-undefined: x}"; exit 1 ;; esac
[ -z "${SLOW-}" ] || sleep "$SLOW"
echo "$package" > "$2"
"""


@pytest.fixture(autouse=True)
def go_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A go that only writes names, and a cache and a record of its own."""
    go = tmp_path / "path" / "go"
    go.parent.mkdir()
    go.write_text(GO)
    go.chmod(0o755)
    log = tmp_path / "go.log"
    log.touch()
    monkeypatch.setenv("PATH", f"{go.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("GO_LOG", str(log))
    monkeypatch.setattr(build, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(progress, "DURATIONS", tmp_path / "durations.json")
    monkeypatch.setattr(build, "go_version", lambda: "go1.26.8")
    monkeypatch.setattr(build, "TOOLS", build.TOOLS[:4])
    return log


def built(log: Path) -> list[str]:
    """The programs that go was asked for, in order."""
    return [Path(line).name for line in log.read_text().splitlines()]


def test_a_program_of_this_repository_has_another_key_with_another_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "MODULES", tmp_path)
    source = tmp_path / "module" / "own" / "main.go"
    source.parent.mkdir(parents=True)
    for name in ("go.mod", "go.sum"):
        (tmp_path / "module" / name).touch()
    own = build.Tool("own", "module", "./own", 1)

    def key(text: str) -> str:
        source.write_text(text)
        return own.key("go1.26.8")

    assert key("package main") == key("package main") != key("package other")


@pytest.mark.parametrize(
    "changed",
    [{"ldflags": "-X main.version=2"}, {"tags": ""}, {"cgo": False}, {"package": "example.com/x"}],
)
def test_a_program_made_otherwise_has_another_key(changed: dict[str, str]) -> None:
    assert replace(RUNC, **changed).key("go1.26.8") != RUNC.key("go1.26.8")
    assert RUNC.key("go1.26.9") != RUNC.key("go1.26.8") == replace(RUNC).key("go1.26.8")


def test_the_directory_holds_every_program_under_its_plain_name(go_log: Path) -> None:
    directory = build.tools()
    assert sorted(p.name for p in directory.iterdir()) == [
        *("buildctl", "buildkitd", "containerd", "envoy", "runc"),
    ]
    assert (directory / "runc").read_text() == "github.com/opencontainers/runc\n"
    assert build.tools() == directory
    assert len(built(go_log)) == 4


def test_what_only_some_labs_need_is_built_when_it_is_asked_for(go_log: Path) -> None:
    without, with_keda = build.tools(), build.tools(build.KEDA)
    more = {path.name for path in with_keda.iterdir()} - {path.name for path in without.iterdir()}
    assert more == {"keda-operator", "keda-adapter"}
    assert built(go_log)[-2:] == ["operator", "adapter"]
    assert build.tools() == without


def test_an_interrupted_build_goes_on_where_it_was(
    go_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "runc")
    with pytest.raises(LabError, match=r"opencontainers/runc.* fails:\n  undefined: x"):
        build.tools()
    monkeypatch.delenv("FAIL")
    build.tools()
    assert built(go_log) == ["buildkitd", "buildctl", "runc", "runc", "containerd"]


def test_an_unreachable_module_proxy_is_named_after_some_attempts(
    go_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("FAIL", "buildkitd")
    monkeypatch.setenv("REASON", "Get https://proxy.example/: dial tcp: i/o timeout")
    with pytest.raises(LabError, match=r"module proxy .* can't be reached: .*i/o timeout"):
        build.tools()
    assert built(go_log) == ["buildkitd"] * build.ATTEMPTS


def test_a_go_that_waits_for_the_network_for_ever_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "STALL", 1.5)
    monkeypatch.setattr(build, "ATTEMPTS", 1)
    monkeypatch.setenv("SLOW", "60")
    begun = time.monotonic()
    with pytest.raises(LabError, match="stood still"):
        build.tools()
    assert time.monotonic() - begun < 10


def test_a_second_builder_waits_and_finds_it_done(go_log: Path) -> None:
    lock = build.CACHE / "tools" / "buildkitd.lock"
    lock.parent.mkdir(parents=True)
    hold = "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f,2); print(); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin and holder.stdout and holder.stdout.readline()
        builder = threading.Thread(target=build.tools)
        builder.start()
        waiting = re.compile("build buildkitd: another process is at it, waiting")
        deadline = time.monotonic() + 5
        while not any(waiting.search(step.line()) for step in progress.steps()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        build.TOOLS[0].path("go1.26.8").write_text("made by the other")
        holder.stdin.close()
    builder.join()
    assert built(go_log) == ["buildctl", "runc", "containerd"]


def test_the_forecast_counts_what_is_still_to_build(
    capsys: pytest.CaptureFixture[str],
) -> None:
    build.tools()
    err = capsys.readouterr().err
    assert "… build buildkitd: tool 1 of 4, all about 155 s left, about 98 s" in err
    assert "… build containerd: tool 4 of 4, all about 39 s left, about 39 s" in err


def test_an_image_is_made_anew_when_a_program_or_a_layer_under_it_changes(tmp_path: Path) -> None:
    image = next(image for image in image_store.IMAGES if image.name.endswith("-rootless"))
    programs = {name: tmp_path / f"{name}-1" for name in image.tools}
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, program in programs.items():
        program.touch()
        (tools / name).symlink_to(program)
    path = image.path(tools, "base")
    assert path.name.startswith("buildkit-v0.34.2-rootless-")
    assert image.path(tools, "other base") != path
    (tools / "runc").unlink()
    (tools / "runc").symlink_to(tmp_path / "runc-2")
    assert image.path(tools, "base") != path
