"""The pages: the reference against the code that it is made from, examples by running them."""

import inspect
import json
import re
from enum import Enum
from pathlib import Path
from typing import Any, is_typeddict

import pulumi
import pulumi_buildkit
import pytest
import yaml
from pulumi_buildkit import Security
from pulumi_buildkit.volume import VolumeKind

from docs import generate
from docs.reference import configuration, modes
from settings import MODES, Mode, parse
from tests.hostile import ATTEMPTS
from tests.pages import DOCS, PAGES, Block, blocks
from tests.pod_security import STRICTEST
from tests.recording import REPO, record, record_program

PROSE = [*PAGES, REPO / "CHANGELOG.md"]


@pytest.mark.parametrize("page", generate.PAGES, ids=lambda page: page.name)
def test_a_page_is_what_make_docs_writes(page: Path) -> None:
    assert page.read_text().splitlines() == generate.PAGES[page]().splitlines()


def test_every_key_has_a_description() -> None:
    text = configuration.page()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert all(len(row) == 4 and row[3].removesuffix(" |") for row in rows)


def sections(page: Path) -> dict[str, str]:
    """What stands below each heading of a *page* that is code."""
    _, *parts = re.split(r"^#+ `(.+)`\n", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("name", pulumi_buildkit.__all__)
def test_the_page_of_the_components_has_what_the_library_gives(name: str) -> None:
    public = getattr(pulumi_buildkit, name)
    page = sections(DOCS / "components.md")
    if is_typeddict(public):
        text = page[name] if name in page else page[name.removesuffix("Args")]
        described = re.findall(r"^\| `(\w+)` \| .+ \| .*\w.* \|$", text, re.MULTILINE)
        assert {*described} >= {*public.__annotations__}
    elif inspect.isclass(public) and issubclass(public, Enum):
        assert re.findall(r'^- `(\S+)`, `"(\S+)"`: \w', page[name], re.MULTILINE) == [
            (str(value), value.value) for value in public
        ]
    else:
        assert name in page or f"\n- `{name}" in (DOCS / "components.md").read_text()


@pytest.mark.parametrize(
    ("mode", "way"), [("pod", "without a gateway"), ("deployment", "with a gateway")]
)
def test_the_page_of_the_outputs_has_what_a_stack_says(mode: str, way: str) -> None:
    page = (DOCS / "outputs.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| \w+ \| \w", page, re.MULTILINE)
    listed = {
        name
        for name, having in rows
        if {*having.split(", ")} & {"every", f"`{mode}`", f"`{mode}` {way}"}
    }
    assert listed == {*record_program(mode=mode).outputs_of("Stack").values}


def test_the_least_configuration_of_the_page_works() -> None:
    (example,) = configuration.page().split("```yaml\n")[1:]
    config = yaml.safe_load(example.split("```")[0])["config"]
    values = {key.removeprefix("buildkit:"): json.dumps(value) for key, value in config.items()}
    assert list(parse(values).clients) == ["dev"]


def rows() -> dict[Mode, dict[str, str]]:
    """The table of the modes, as the page has it."""
    page = modes.page().splitlines()
    head, _, *lines = [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in page if "|" in line
    ]
    return {Mode(line[0]): dict(zip(head, line, strict=True)) for line in lines}


def is_taken(mode: Mode, **keys: Any) -> bool:
    """Whether a stack of this *mode* may have these *keys*."""
    job = (
        {"job": {"context": "git@example.com:app"}} if rows()[mode]["buildkit:job"] != "no" else {}
    )
    values = {"clients": {"dev": {}}, **job, **keys}
    try:
        parse({"mode": mode.value, **{key: json.dumps(value) for key, value in values.items()}})
    except pulumi.RunError:
        return False
    return True


def test_the_page_of_the_modes_has_them_all() -> None:
    assert [*rows()] == [*Mode] == [*MODES]


@pytest.mark.parametrize("mode", Mode)
def test_what_the_page_says_of_a_mode_is_what_a_stack_may_have(mode: Mode) -> None:
    said = rows()[mode]
    assert is_taken(mode, gateway={"enabled": True}) is (said["gateway"] != "no")
    assert is_taken(mode, replicas=2) is said["pods"].startswith("any number")
    for kind in VolumeKind:
        assert is_taken(mode, volume={"kind": kind.value}) is (f"`{kind.value}`" in page_row(mode))
    claims = is_taken(mode, replicas=2, volume={"kind": "claim"})
    assert claims is (said["pods"] == "any number")
    # What the claim of a Deployment can't.
    kinds = [kind.value for kind in MODES[mode].volumes]
    scales = [is_taken(mode, autoscaling={}, volume={"kind": kind}) for kind in kinds]
    assert any(scales) is (said["autoscaling"] == "yes")


def page_row(mode: Mode) -> str:
    """The line of a *mode*, as it stands on the page."""
    lines = modes.page().splitlines()
    return next(line for line in lines if line.startswith(f"| `{mode.value}`"))


def security_rows(heading: str) -> list[list[str]]:
    """The first table of a section of the page about security."""
    section = (DOCS / "security.md").read_text().partition(f"\n## {heading}\n")[2]
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_has_what_a_hostile_step_can() -> None:
    (_, *variants), _, *rows = security_rows("What a build can do")
    columns = [Security(variant.strip("`")) for variant in variants]
    assert {*columns} == {*Security}
    assert rows == [
        [each.what, *("**yes**" if of in each.succeeds else "no" for of in columns)]
        for each in ATTEMPTS
    ]


def test_the_page_has_the_pod_security_level_of_each_pod() -> None:
    _, _, *rows = security_rows("Pod Security Standards")
    assert rows == [
        [whose, f"`{level.strictest}`", level.against] for whose, level in STRICTEST.items()
    ]


def place(block: Block) -> str:
    return block.place


CONFIGURATIONS = [block for block in blocks("yaml") if "\n  buildkit:" in block.text]


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=place)
def test_a_configuration_on_a_page_can_be_pasted_into_the_dev_stack(block: Block) -> None:
    config = yaml.safe_load(block.text)["config"]
    made = record_program(**{key.removeprefix("buildkit:"): config[key] for key in config})
    assert made.outputs_of("Stack").values["workload"]


def rows_of_the_readme() -> list[str]:
    """What its table says to set."""
    return re.findall(
        r"^\| `(buildkit:\S+: .+?)` \|", (REPO / "README.md").read_text(), re.MULTILINE
    )


@pytest.mark.parametrize("row", rows_of_the_readme())
def test_what_the_readme_says_to_set_can_be_set(row: str) -> None:
    ((key, value),) = yaml.safe_load(row).items()
    assert record_program(**{key.removeprefix("buildkit:"): value}).outputs_of("Stack").values


@pytest.mark.parametrize("program", [*blocks("python")], ids=place)
def test_a_program_on_a_page_runs(program: Block) -> None:
    made = record(lambda: exec(compile(program.text, program.place, "exec"), {}))
    assert made.resources or "pod_for" in program.text


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(REPO)))
def test_a_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def anchors(page: Path) -> set[str]:
    """The headings of a *page*, as links call them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(REPO)))
def test_make_has_the_targets_of_a_page(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE)
    asked = re.findall(r"\bmake(?: -s)? ([a-z]+(?:-[a-z]+)*)(?=[ `\n)\"])", code(page))
    assert {*asked} <= {*targets}


def code(page: Path) -> str:
    """All that a *page* shows as commands."""
    fenced = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    return "\n".join([*fenced, *(f"{c} " for c in re.findall(r"`([^`\n]+)`", page.read_text()))])
