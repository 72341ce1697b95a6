"""What a configuration makes, judged by the API server: a dry run has all its checks."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pulumi
import pytest
import yaml
from hypothesis import HealthCheck

from lab import LabError, keda, lifecycle
from settings import parse
from tests.complaints import config
from tests.configurations import CONFIGURATIONS, NAMESPACE
from tests.golden.manifests import CASES, DIRECTORY, SECRET, Case, Object, applied
from tests.lab import operator_kinds
from tests.lab.conftest import Count
from tests.lab.test_engine import namespace_of
from tests.recording import record_program


@pytest.fixture(scope="module", autouse=True)
def further_kinds(lab: lifecycle.Lab) -> None:
    """Objects of KEDA's and of the Prometheus operator's are judged as well."""
    keda.install(lab.node)
    operator_kinds.define(lab.node)


@pytest.fixture(scope="module", autouse=True)
def namespace(lab: lifecycle.Lab) -> Iterator[str]:
    """Even a dry run refuses what is in a namespace that is not there."""
    with namespace_of(lab, NAMESPACE) as name:
        yield name


def apply(lab: lifecycle.Lab, path: Path) -> None:
    """Have the API server say what it would do with a file's objects, or a directory's.

    Raises:
        LabError: it would refuse one of them.
    """
    lab.node.kubectl("apply", "--server-side", "--dry-run=server", "--filename", str(path))


def refusal(lab: lifecycle.Lab, path: Path) -> str:
    """What it refuses them with; empty if it does not."""
    try:
        apply(lab, path)
    except LabError as error:
        return str(error)
    return ""


def write(file: Path, objects: list[Object]) -> None:
    """The objects as one list, with something for what they hide."""
    for data in (o["data"] for o in objects if o["kind"] == "Secret" and "data" in o):
        data.update(dict.fromkeys(data, base64.b64encode(SECRET.encode()).decode()))
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_api_server_takes_the_manifests_that_are_checked_in(
    lab: lifecycle.Lab, tmp_path: Path, case: Case
) -> None:
    manifest = (DIRECTORY / f"{case}.yaml").read_text()
    write(tmp_path / "objects.json", [*yaml.safe_load_all(manifest)])
    apply(lab, tmp_path)


def drawn(number: int) -> list[dict[str, Any]]:
    """So many configurations that are settings, and not one line for each mistake."""
    found: list[dict[str, Any]] = []

    @hypothesis.settings(
        max_examples=number,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @hypothesis.given(CONFIGURATIONS)
    def draw(keys: dict[str, Any]) -> None:
        try:
            parse(config(**keys))
        except pulumi.RunError:
            hypothesis.reject()
        found.append(keys)

    draw()
    return found


def test_the_api_server_takes_whatever_a_configuration_makes(
    lab: lifecycle.Lab, tmp_path: Path, count: Count
) -> None:
    number = count("configurations", 500, 100)
    found = drawn(number)
    assert len(found) == number
    for at, keys in enumerate(found):
        write(tmp_path / f"{at}.json", [*applied(record_program(**keys))])
    try:
        apply(lab, tmp_path)
    except LabError:
        # Which one it was is not said of many.
        for at, keys in enumerate(found):
            assert refusal(lab, tmp_path / f"{at}.json") == "", json.dumps(keys)
        raise
