import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import LabError, __main__, owner, preflight
from lab.paths import REPO


def preflight_lines(tmp_path: Path, *prefix: str, **environment: str) -> list[str]:
    command = [*prefix, sys.executable, "-m", "lab.preflight"]
    home = {"PYTHONPATH": str(REPO), "HOME": str(tmp_path)}
    kept = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "XDG_CACHE_HOME")}
    result = subprocess.run(
        command, env={**kept, **home, **environment}, capture_output=True, text=True, cwd="/"
    )
    assert result.returncode == (1 if result.stderr else 0)
    return result.stderr.splitlines()


def with_go(tmp_path: Path, version: str) -> str:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(f"#!/bin/sh\necho {version}\n")
    go.chmod(0o755)
    return str(go.parent)


def test_a_machine_without_go_is_told_which_to_install(tmp_path: Path) -> None:
    (line,) = preflight_lines(tmp_path, PATH=str(tmp_path))
    assert line == "lab: go is not on the PATH: install Go 1.26.8 or newer"


@pytest.mark.parametrize("version", ["go1.26.7", "go1.25.9", "go1.9", "nonsense"])
def test_a_go_that_is_too_old_is_named(tmp_path: Path, version: str) -> None:
    path = with_go(tmp_path, version)
    (line,) = preflight_lines(tmp_path, PATH=path)
    assert line == f"lab: {path}/go is {version}: install Go 1.26.8 or newer"


def test_a_newer_go_will_do(tmp_path: Path) -> None:
    assert preflight_lines(tmp_path, PATH=with_go(tmp_path, "go1.27")) == []


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError) as error:
        preflight.machine(node=True)
    system, user, go = str(error.value).splitlines()
    assert system.startswith("this is Darwin: the lab's node needs Linux")
    assert user.startswith("user 1000 is not root")
    assert go.startswith("go is not on the PATH")


def test_a_cluster_of_ones_own_needs_neither_root_nor_linux(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    preflight.machine(node=False)


def test_a_full_disk_is_named_with_what_is_free_and_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "CACHE", tmp_path / "cache" / "buildkit-lab")
    full = shutil.disk_usage("/")._replace(free=24_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(LabError) as error:
        preflight.machine(node=False)
    wanted = f"{tmp_path} has 24 GB free, and the lab needs 25 GB there: make room"
    assert str(error.value) == wanted


def test_a_lab_in_use_says_by_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "LOCK", tmp_path / "lock")
    monkeypatch.delenv("BUILDKIT_LAB_LOCK_HELD", raising=False)
    with owner.lock("make up"):
        monkeypatch.delenv("BUILDKIT_LAB_LOCK_HELD")
        holder = f"make up in .*, process {os.getpid()}"
        with pytest.raises(LabError, match=holder), owner.lock("make down"):
            pass
        monkeypatch.setenv("BUILDKIT_LAB_LOCK_HELD", "1")


def test_the_lab_of_another_checkout_is_not_ended_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "_OWNER", tmp_path / "owner")
    (tmp_path / "owner").write_text(str(tmp_path))
    with pytest.raises(LabError, match=f"the lab belongs to {tmp_path}"):
        owner.refuse_foreign()


def test_a_lab_whose_checkout_is_gone_can_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "_OWNER", tmp_path / "owner")
    (tmp_path / "owner").write_text(str(tmp_path / "gone"))
    owner.refuse_foreign()


KUBECONFIG = """
current-context: mine
contexts: [{name: mine, context: {cluster: far}}]
clusters: [{name: far, cluster: {server: "https://127.0.0.1:9"}}]
"""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (KUBECONFIG, "mine at 127.0.0.1:9 can't be reached"),
        ("", "is no kubeconfig with a current context"),
        ("{", "is no kubeconfig with a current context"),
        (KUBECONFIG.replace("name: mine,", "name: other,"), "is no kubeconfig"),
    ],
)
def test_a_kubeconfig_that_leads_nowhere_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, said: str
) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    with pytest.raises(LabError) as error:
        __main__.up()
    assert f"KUBECONFIG={kubeconfig}" in str(error.value)
    assert said in str(error.value)
    assert "unset KUBECONFIG" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_make_down_leaves_a_cluster_alone_that_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setattr(__main__, "_reach", lambda _: "mine")
    with pytest.raises(LabError, match="say make down CLUSTER=mine"):
        __main__.down(None)
