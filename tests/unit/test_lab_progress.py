"""What a user sees of a long step, and what is left of it for the next run."""

import json
import time
from pathlib import Path

import pytest

from lab import progress


@pytest.fixture(autouse=True)
def durations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A record of its own for each test, and lines that come soon."""
    monkeypatch.setattr(progress, "DURATIONS", tmp_path / "cache" / "durations.json")
    monkeypatch.setattr(progress, "SHORTEST_RECORDED", 0.0)
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0.05)
    monkeypatch.setattr(progress, "_steps", [])
    return progress.DURATIONS


def test_a_log_gets_a_line_at_the_start_now_and_then_and_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress.step("kube-apiserver", estimate=215) as work:
        work.update("importing 3 of 9")
        time.sleep(0.12)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "… kube-apiserver, about 215 s"
    assert lines[1] == "… kube-apiserver: importing 3 of 9 0.1 s, about 215 s left"
    assert lines[-1].startswith("✓ kube-apiserver 0.1 s")


def test_a_failed_step_is_marked_and_not_recorded(
    capsys: pytest.CaptureFixture[str], durations: Path
) -> None:
    with pytest.raises(RuntimeError), progress.step("etcd"):
        raise RuntimeError
    assert capsys.readouterr().err.splitlines()[-1].startswith("✗ etcd")
    assert not durations.exists()


def test_the_next_run_knows_how_long_it_took(durations: Path) -> None:
    with progress.step("outer"), progress.step("inner"):
        time.sleep(0.11)
    assert json.loads(durations.read_text()) == {"inner": 0.1, "outer": 0.1}
    assert progress.expected("inner") == 0.1
    assert [(s.title, s.depth, s.ok) for s in progress.steps()] == [
        ("outer", 0, True),
        ("inner", 1, True),
    ]


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_a_damaged_record_is_no_error(durations: Path, content: str) -> None:
    durations.parent.mkdir()
    durations.write_text(content)
    with progress.step("etcd"):
        assert progress.expected("etcd") is None
    assert progress.expected("etcd") is not None


@pytest.mark.parametrize(("seconds", "text"), [(0.44, "0.4 s"), (75, "75 s"), (840, "14 min")])
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text
