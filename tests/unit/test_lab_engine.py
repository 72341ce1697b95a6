"""Which Pulumi it is that the lab's tests run with."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab import engine
from lab.paths import REPO

OWN = re.compile(
    r"Pulumi: CLI 3\.\d+\.\d+, Python language host 3\.\d+\.\d+ "
    r"and Kubernetes provider 4\.\d+\.\d+ "
    r"from their Go modules, tls and random of lab/providers"
)


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A directory that has what an official Pulumi is known by."""
    host = tmp_path / "pulumi-language-python"
    host.touch(mode=0o755)
    return tmp_path


def said_by_pytest(official: Path, *arguments: str) -> list[str]:
    """What a test run says of Pulumi where an official one is on the PATH."""
    output = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", *arguments],
        cwd=REPO,
        env={**os.environ, "PATH": f"{official}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [line for line in output.splitlines() if line.startswith("Pulumi: ")]


def test_a_run_of_the_labs_tests_says_in_one_line_which_pulumi_it_uses(official: Path) -> None:
    line = f"Pulumi: the official CLI, language host and plugins, from {official}"
    assert said_by_pytest(official, "tests/lab/test_clients.py") == [line]


def test_a_run_without_them_uses_none(official: Path) -> None:
    assert said_by_pytest(official, "tests/golden") == []


def test_without_an_official_one_it_is_the_labs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert OWN.fullmatch(engine.description(engine.official_cli()))


def test_the_labs_own_on_the_path_of_its_shell_is_not_the_official_one(
    official: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(official))
    monkeypatch.setattr(engine, "CACHE", official.parent)
    assert engine.official_cli() is None
