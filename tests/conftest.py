import os

import hypothesis
import pytest

hypothesis.settings.register_profile("thousands", max_examples=2000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the checked-in manifests and the schema anew, from what the code makes now",
    )
    parser.addoption(
        "--full",
        action="store_true",
        help="show the promises with all their counts and waits, which takes hours",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--update-golden") and os.environ.get("CI"):
        raise pytest.UsageError("--update-golden is for people: CI compares with what they wrote")
