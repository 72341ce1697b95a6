"""What others have made: all of it pinned and listed, under licences that let it be used."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from supply.images import IMAGES
from supply.packages import DEVELOPMENT, PROGRAM, REPO, Package, asked_for, pinned

LOCKS = (PROGRAM, DEVELOPMENT)
ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"),
    # It asks for the sources of changed files, and nobody changes any.
    "MPL-2.0",
}
"""Licences of packages that programs of any licence may import and be shipped with."""


def by_name(lock: Path) -> dict[str, str]:
    return {package.name: package.version for package in pinned(lock)}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_pins_what_is_asked_for(lock: Path) -> None:
    versions = by_name(lock)
    asked = [(one, versions[canonicalize_name(one.name)]) for one in asked_for(lock)]
    assert [(str(one), has) for one, has in asked if not one.specifier.contains(has)] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_pins_every_package_by_hash_wherever_it_comes_from(lock: Path) -> None:
    assert [package.name for package in pinned(lock) if not package.hashes] == []
    assert "://" not in lock.read_text()


def test_the_program_runs_with_what_it_is_tested_with() -> None:
    assert by_name(PROGRAM).items() <= by_name(DEVELOPMENT).items()


def test_make_lock_pins_what_is_asked_for_and_changes_nothing_else(tmp_path: Path) -> None:
    for name in ("Makefile", "lab", ".venv", "components"):
        (tmp_path / name).symlink_to(REPO / name)
    for file in REPO.glob("requirements*"):
        shutil.copy(file, tmp_path)
    with (tmp_path / "requirements.txt").open("a") as asked:
        asked.write("tomli==2.2.1\n")
    make = subprocess.run(["make", "lock"], cwd=tmp_path, capture_output=True, text=True)
    assert make.returncode == 0, make.stderr
    for lock in LOCKS:
        assert by_name(tmp_path / lock.name) == {**by_name(lock), "tomli": "2.2.1"}


@pytest.mark.parametrize("package", pinned(), ids=lambda package: package.name)
def test_a_package_has_a_licence_that_programs_of_any_licence_may_use(package: Package) -> None:
    assert {*re.split(r"[() ]+", package.licence)} - {"AND", "OR"} <= ALLOWED


def test_the_bill_of_materials_has_all_that_a_stack_consists_of() -> None:
    made = subprocess.run(["make", "-s", "sbom"], cwd=REPO, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    text = (REPO / made.stdout.strip()).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    hashes = {
        component["purl"]: {each["content"] for each in files["hashes"]}
        for component in bill["components"]
        for files in component.get("externalReferences", [])
    }
    assert hashes == {f"pkg:pypi/{p.name}@{p.version}": {*p.hashes} for p in pinned()}
    images = {purl(image.reference) for image in IMAGES}
    assert "pkg:docker/moby/buildkit@v0.34.2-rootless" in images
    plugins = {f"pkg:github/pulumi/{name}@v{version}" for name, version in providers().items()}
    everything = {*hashes} | images | plugins
    assert {component["purl"] for component in bill["components"]} == everything
    needs = {one["ref"]: {*one.get("dependsOn", [])} for one in bill["dependencies"]}
    program = bill["metadata"]["component"]["bom-ref"]
    assert reached(program, needs) == {program} | everything


def reached(start: str, needs: dict[str, set[str]]) -> set[str]:
    """What is needed from there on."""
    found = {start}
    while more := {one for each in found for one in needs[each]} - found:
        found |= more
    return found


def purl(image: str) -> str:
    """Its package URL."""
    return "pkg:docker/" + re.sub(r"^docker\.io/(library/)?", "", image).replace(":", "@")


def providers() -> dict[str, str]:
    """The versions of Pulumi's providers."""
    return {name: of for name, of in by_name(PROGRAM).items() if name.startswith("pulumi-")}


def test_the_images_that_are_listed_are_those_that_pods_run() -> None:
    manifests = "".join(file.read_text() for file in (REPO / "tests/golden").rglob("*.yaml"))
    named = {*re.findall(r"\bimage: (\S+)", manifests)}
    assert {image.reference for image in IMAGES} == named
