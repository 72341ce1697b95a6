"""Builds that are larger than Envoy's defaults: docs/decisions/gateway-limits.md."""

import json
from pathlib import Path

import pytest

from tests.lab.building import BUILDCTL, CLIENTS, build, create_builder
from tests.lab.conftest import Count, Installation

FAILS = "FROM debian:bookworm-slim\nRUN exit 3\n"
SAID = r'process "/bin/sh -c exit 3" did not complete successfully: exit code: 3'
# A comment of one line, which BuildKit puts into the error with the rest of the Dockerfile.
LONG = f"# {'x' * 1000}\n"


@pytest.mark.parametrize("by", CLIENTS)
def test_the_error_of_a_dockerfile_of_a_megabyte_reaches_the_client(
    installation: Installation, by: str
) -> None:
    with build(installation, by, LONG * 1000 + FAILS) as failing:
        failing.fails(SAID)


def test_the_error_of_a_step_of_100_kilobytes_reaches_the_client(
    installation: Installation,
) -> None:
    heredoc = f"FROM debian:bookworm-slim\nRUN <<EOF\n{LONG * 100}exit 3\nEOF\n"
    with build(installation, BUILDCTL, heredoc) as failing:
        failing.fails("did not complete successfully: exit code: 3")


def test_a_bake_has_more_targets_than_envoy_has_streams_by_default(
    installation: Installation, tmp_path: Path, count: Count
) -> None:
    # Three streams for each target, and 1,024 are Envoy's default.
    targets = count("targets", 1000, 360)
    file = tmp_path / "docker-bake.json"
    names = [f"t{number}" for number in range(targets)]
    dockerfile = "FROM scratch\nCOPY <<EOF /name\n{}\nEOF\n"
    file.write_text(
        json.dumps(
            {
                "group": {"default": {"targets": names}},
                "target": {
                    name: {"dockerfile-inline": dockerfile.format(name), "output": ["cacheonly"]}
                    for name in names
                },
            }
        )
    )
    create_builder(installation)
    bake = ("docker-buildx", "bake", "--builder=buildkit", f"--file={file}")
    baked = installation.run(*bake, "--progress=quiet", timeout=900)
    assert baked.returncode == 0, baked.stderr[-2000:]
