"""A client that is not written in Go builds through the gateway."""

import time
from contextlib import ExitStack

import pytest

from tests.lab.absence import no_buildkitd
from tests.lab.conftest import Installation
from tests.lab.python_client import (
    HEALTH_SECONDS,
    copy,
    image,
    make_file,
    python_client,
    run,
)

PATIENCE = 60
KIB = 1 << 10
MIB = 1 << 20


def test_it_sees_its_steps_and_gets_what_was_built(installation: Installation) -> None:
    # In the silence buildkitd asks the session several times whether it is alive.
    silence = HEALTH_SECONDS * 3
    script = f"echo begun {time.time_ns()}; sleep {silence}; echo built by Python > /greeting"
    base = image("docker.io/library/debian:bookworm-slim")
    step = run(script, base)
    with (
        python_client(installation) as client,
        client.build([base, step, copy("/greeting", step)]) as build,
    ):
        result = build.result(within=PATIENCE)
    assert result.files == {"greeting": b"built by Python\n"}
    assert {
        "docker-image://docker.io/library/debian:bookworm-slim",
        f"sh -c {script}",
        "copy /greeting /greeting",
        "exporting to client tarball",
    } <= {*result.names}
    assert all(step.HasField("completed") and not step.error for step in result.steps)
    assert result.output.startswith("begun ")


def test_its_build_waits_for_buildkitd(installation: Installation) -> None:
    with python_client(installation) as client, ExitStack() as stack:
        with no_buildkitd(installation):
            content = f"held, then built at {time.time_ns()}".encode()
            build = stack.enter_context(client.build([make_file("/greeting", content)]))
            with pytest.raises(TimeoutError):
                build.result(within=5)
        assert build.result(within=PATIENCE).files == {"greeting": content}


def test_a_build_definition_may_be_as_large_as_buildkitd_takes(
    installation: Installation,
) -> None:
    # BuildKit takes messages of 16 MiB: defaults.DefaultMaxRecvMsgSize of containerd.
    content = {f"{number}": str(number).encode() * (250 * KIB // 2) for number in range(10, 74)}
    operations: list[bytes] = []
    for path, data in content.items():
        operations.append(make_file(f"/{path}", data, *operations[-1:]))
    assert 15.6 * MIB < sum(map(len, operations)) < 16 * MIB
    with python_client(installation) as client, client.build(operations) as build:
        result = build.result(within=PATIENCE)
    assert result.files == content
    assert {f"mkfile /{path}" for path in content} <= {*result.names}
