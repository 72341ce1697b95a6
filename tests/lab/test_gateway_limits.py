"""Builds that are larger than Envoy's defaults: docs/decisions/gateway-limits.md."""

import json
import re
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.building import BEGUN, BUILDCTL, CLIENTS, build, create_builder, step
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


def test_a_bake_of_many_targets_passes(
    installation: Installation, tmp_path: Path, count: Count
) -> None:
    # Three streams for each: in full more than the 1,024 of Envoy. tests/unit/test_envoy_limits.py
    # always has more, with a stand-in for buildkitd.
    targets = count("targets", 1000, 40)
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


def test_clients_that_stop_while_a_step_prints_much_get_all_lines_when_they_go_on(
    installation: Installation, count: Count
) -> None:
    rounds = count("times 30,000 lines", 10, 2)
    # No faster than buildkitd passes on: 200 KiB a second, and 2 MiB of a step.
    loop = f"for i in $(seq {rounds}); do seq -w 30000; sleep 1; done"
    prints = f"echo begun {time.time_ns()} && {loop}"
    dockerfile = step(f"{prints} && echo printed > /greeting")
    with ExitStack() as stack:
        stopped = [stack.enter_context(build(installation, by, dockerfile)) for by in CLIENTS]
        for client in stopped:
            client.wait_for(BEGUN)
            client.stop()
        with build(installation, BUILDCTL, dockerfile) as another:
            # The same step, so it has ended for all of them.
            assert another.result("greeting") == b"printed\n"
        for client in stopped:
            client.go_on()
        for client in stopped:
            assert client.result("greeting") == b"printed\n"
            assert len(re.findall(r"(?m)^#\d+ [\d.]+ \d{5}\r?$", client.said)) == rounds * 30_000
