"""The reference page, against the code that it is made from."""

import json

import yaml

from docs import generate
from settings import parse


def test_the_page_of_the_configuration_is_what_make_docs_writes() -> None:
    assert generate.PAGE.read_text().splitlines() == generate.page().splitlines()


def test_every_key_has_a_description() -> None:
    rows = [line.split(" | ") for line in generate.page().splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    assert all(len(row) == 4 and row[3].removesuffix(" |") for row in rows)


def test_the_least_configuration_of_the_page_works() -> None:
    (example,) = generate.page().split("```yaml\n")[1:]
    config = yaml.safe_load(example.split("```")[0])["config"]
    values = {key.removeprefix("buildkit:"): json.dumps(value) for key, value in config.items()}
    assert list(parse(values).clients) == ["dev"]
