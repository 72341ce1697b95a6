"""What is applied to a cluster, against what was, Kubernetes' schema, and upstream's examples."""

from collections import Counter
from itertools import product

import pytest
import yaml
from pulumi_buildkit import Security

from render.manifests import dumped
from settings import Mode
from tests.golden.manifests import CASES, DIRECTORY, SECRET, Case, rendered
from tests.golden.schema import validate
from tests.golden.upstream import TABLE, Difference, differences, explained, manifests

EACH = pytest.mark.parametrize("case", CASES, ids=str)


def test_every_mode_is_a_case_in_every_security_variant() -> None:
    assert {(case.mode, case.security) for case in CASES} == {*product(Mode, Security)}


@EACH
def test_what_is_applied_is_what_is_checked_in(case: Case, request: pytest.FixtureRequest) -> None:
    file = DIRECTORY / f"{case}.yaml"
    text = dumped(*rendered(case))
    if request.config.getoption("--update-golden"):
        file.write_text(text)
    assert file.read_text().splitlines() == text.splitlines()


def test_every_file_is_of_a_case() -> None:
    files = {file.stem for file in DIRECTORY.glob("*.yaml")}
    assert files == {str(case) for case in CASES}


@EACH
def test_every_object_is_valid_for_kubernetes(case: Case) -> None:
    for document in rendered(case):
        validate(document)


@EACH
def test_no_secret_is_in_the_files(case: Case) -> None:
    documents = yaml.safe_load_all((DIRECTORY / f"{case}.yaml").read_text())
    secrets = [document for document in documents if document["kind"] == "Secret"]
    assert secrets
    assert {value for secret in secrets for value in secret["data"].values()} == {SECRET}


@pytest.fixture(scope="module")
def found() -> set[Difference]:
    """All that is different in any case; once, if it is so in the pods of several kinds."""
    each = {
        difference for case in CASES for difference in differences(manifests(case), rendered(case))
    }
    kinds = Counter(difference.of_any_kind() for difference in each)
    return {d.of_any_kind() if kinds[d.of_any_kind()] > 1 else d for d in each}


def test_what_upstream_sets_is_set_here_or_explained(found: set[Difference]) -> None:
    assert not found - set(explained()), f"explain them in {TABLE.name}"


def test_no_explanation_is_out_of_date(found: set[Difference]) -> None:
    assert not set(explained()) - found, f"take them out of {TABLE.name}"


def test_every_row_of_the_table_is_read_and_says_why() -> None:
    rows = TABLE.read_text().partition("| path |")[2].splitlines()
    assert len(explained()) == len([row for row in rows if row.startswith("| `")])
    assert all(explained().values())
