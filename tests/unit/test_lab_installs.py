"""What is said when a package registry can't be reached."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import LabError, bootstrap, debian
from lab.paths import REPO

NOBODY_LISTENS = "http://127.0.0.1:9/simple"


def test_an_unreachable_python_registry_is_one_clear_last_line(tmp_path: Path) -> None:
    for name in (*bootstrap.REQUIREMENTS, "lab/__init__.py", "lab/bootstrap.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPO / name, tmp_path / name)
    unreachable = {"PIP_INDEX_URL": NOBODY_LISTENS, "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "lab.bootstrap"],
        cwd=tmp_path,
        env={**os.environ, **unreachable},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    advice = "lab: pip install failed: check that the Python package registry can be reached"
    assert result.stderr.splitlines()[-1] == advice
    assert not (tmp_path / ".venv" / "installed").exists()


def with_programs(directory: Path, monkeypatch: pytest.MonkeyPatch, **programs: str) -> None:
    """Have these shell scripts, and no other program, on the PATH."""
    for name, script in programs.items():
        program = directory / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))


def test_an_unreachable_debian_registry_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = 'echo "E: Unable to fetch some archives" >&2; exit 100'
    with_programs(tmp_path, monkeypatch, apt_get=failing, dpkg_query="exit 1")
    with pytest.raises(LabError) as error:
        debian.install(["debootstrap"])
    assert str(error.value) == (
        "apt-get update failed: E: Unable to fetch some archives; "
        "check that Debian's package registry can be reached"
    )


def test_packages_that_are_there_are_not_installed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_programs(tmp_path, monkeypatch, apt_get="exit 1", dpkg_query="printf installed")
    debian.install(["debootstrap"])


def test_a_machine_without_apt_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_programs(tmp_path, monkeypatch)
    with pytest.raises(LabError, match="install what Debian calls debootstrap, iptables"):
        debian.install(["iptables", "debootstrap"])
