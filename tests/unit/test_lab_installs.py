"""What is said when a package registry can't be reached."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import LabError, bootstrap, debian
from lab.paths import REPO

NOBODY_LISTENS = "http://127.0.0.1:9/simple"
ADVICE = (
    "lab: pip install failed: check that the Python package registry can be reached, and gives "
    "what requirements-dev.lock pins"
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One without its Python environment."""
    directory = tmp_path_factory.mktemp("checkout")
    for name in (*bootstrap.REQUIREMENTS, "lab/__init__.py", "lab/bootstrap.py"):
        (directory / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPO / name, directory / name)
    return directory


def refused(checkout: Path, **environment: str) -> str:
    """What is said when the environment can't be had."""
    result = subprocess.run(
        [sys.executable, "-m", "lab.bootstrap"],
        cwd=checkout,
        env={**os.environ, **environment, "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert not (checkout / ".venv" / "installed").exists()
    assert result.stderr.splitlines()[-1] == ADVICE
    return result.stderr


def test_an_unreachable_python_registry_is_one_clear_last_line(checkout: Path) -> None:
    refused(checkout, PIP_INDEX_URL=NOBODY_LISTENS)


def test_a_package_that_is_not_the_one_that_was_pinned_is_refused(checkout: Path) -> None:
    lock = checkout / bootstrap.LOCK
    lock.write_text(re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", lock.read_text()))
    assert "DO NOT MATCH THE HASHES" in refused(checkout)


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
