"""What a preview warns of: what works, and may go wrong later."""

from collections.abc import Iterator
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime import config as pulumi_config

from settings import Mode, load, parse
from settings.risks import warnings
from tests.complaints import config
from tests.recording import REPO
from tests.stack_files import STACKS

NO_MEMORY = (
    "buildkit:resources.requests.memory: is missing: where a node runs short of memory, buildkitd "
    "is among the first to be killed, with its builds. Set it, for example to 4Gi."
)
MEMORY = {"requests": {"memory": "1Gi"}}
JOB = {"files": {"Dockerfile": "FROM scratch"}}


def said(**keys: Any) -> list[str]:
    return warnings(parse(config(**keys)))


@pytest.mark.parametrize("mode", Mode)
def test_a_buildkitd_without_a_memory_request_is_warned_of(mode: Mode) -> None:
    job = {"job": JOB} if mode is Mode.JOB else {}
    assert said(mode=mode.value, **job) == [NO_MEMORY]
    assert said(mode=mode.value, resources={"requests": {"cpu": "2"}}, **job) == [NO_MEMORY]


@pytest.mark.parametrize(
    "keys",
    [
        {"resources": MEMORY},
        {"resources": {"limits": {"memory": "1Gi"}}},
        {"pod": {"spec": {"containers": [{"name": "buildkitd", "resources": MEMORY}]}}},
        {"pod": {"spec": {"resources": MEMORY}}},
        # It is known, and meant.
        {"resources": {"requests": {"memory": "0"}}},
    ],
)
def test_a_memory_request_of_any_kind_is_enough(keys: dict[str, Any]) -> None:
    assert said(**keys) == []


def test_a_sidecar_s_memory_is_not_buildkitd_s() -> None:
    sidecar = {"name": "a", "image": "a", "resources": MEMORY}
    assert said(pod={"spec": {"containers": [sidecar]}}) == [NO_MEMORY]


@pytest.fixture
def stack() -> Iterator[None]:
    """A stack that takes a risk, and nothing of the cluster."""
    before = pulumi_config.CONFIG.get()
    pulumi_config.set_all_config({f"buildkit:{key}": v for key, v in config().items()})
    yield
    pulumi_config.set_all_config(before)


@pytest.mark.usefixtures("stack")
def test_a_preview_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", lines.append)
    load()
    assert lines == [NO_MEMORY]


def several(**keys: Any) -> list[str]:
    """What is said of a stack with two builders."""
    return said(**{"clients": {"shop": {}, "search": {}, "ops": {"role": "admin"}}, **keys})


SHARED = (
    "buildkit:security: 'rootless': is shared by 2 builders: a build step can read the secrets of "
    "builds that run beside it. Use userns, or a stack for each team, unless all of them trust "
    "each other."
)


@pytest.mark.parametrize("mode", [Mode.POD, Mode.DEPLOYMENT, Mode.STATEFULSET])
def test_several_builders_of_a_rootless_buildkitd_are_warned_of(mode: Mode) -> None:
    gateway = {"gateway": {"enabled": True, "host": "build.example.com"}}
    assert several(mode=mode.value, resources=MEMORY, **gateway) == [SHARED]


@pytest.mark.parametrize(
    "keys",
    [
        {"security": "userns"},
        {"security": "privileged"},
        {"clients": {"shop": {}}},
        {"clients": {"shop": {}, "ops": {"role": "admin"}}},
    ],
)
def test_steps_that_see_no_other_build_are_not_warned_of(keys: dict[str, Any]) -> None:
    assert several(resources=MEMORY, **keys) == []


def test_all_warnings_are_said() -> None:
    assert several() == [NO_MEMORY, SHARED]


FILES = {"dev": REPO / "Pulumi.dev.yaml", **STACKS}


@pytest.mark.parametrize("name", FILES)
def test_the_stack_files_have_none(name: str) -> None:
    keys = yaml.safe_load(FILES[name].read_text())["config"]
    assert said(**{key.removeprefix("buildkit:"): value for key, value in keys.items()}) == []
