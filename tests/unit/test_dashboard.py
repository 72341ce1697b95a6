"""The dashboard that the package ships."""

import json
from typing import Any

import pytest

import dashboard

SHIPPED: dict[str, Any] = json.loads(dashboard.FILE.read_text())
PANELS = [panel for panel in SHIPPED["panels"] if panel["type"] != "row"]
QUERIES = {
    f"{panel['title']}: {target['legendFormat']}": target["expr"]
    for panel in PANELS
    for target in panel["targets"]
}


def test_it_is_what_its_python_makes() -> None:
    assert dashboard.FILE.read_text() == dashboard.made(), "run `make dashboard`"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["targets"] and panel["fieldConfig"]["defaults"]["unit"]


def test_panels_lie_beside_each_other() -> None:
    cells = [
        (x, y)
        for panel in SHIPPED["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len({*cells})
    assert {x for x, _ in cells} == {*range(24)}


def test_every_panel_has_a_number_of_its_own() -> None:
    numbers = [panel["id"] for panel in SHIPPED["panels"]]
    assert sorted(numbers) == [*range(1, len(numbers) + 1)]


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_of_one_installation_and_can_be_read(name: str) -> None:
    expression = QUERIES[name]
    assert expression.count("{") == expression.count('{namespace="$namespace"')
