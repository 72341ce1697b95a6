"""Who may build, by buildctl and docker buildx: roles, clients that are revoked, and the log."""

import json
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from lab import LabError, lifecycle
from lab.network import REGISTRY
from lab.node import until
from tests.lab.building import BEGUN, BUILDCTL, build, create_builder, is_let_go, waits
from tests.lab.conftest import Configured, Installation, Record, configuring, install
from tests.lab.gateway_log import GatewayLog
from tests.lab.gateway_pods import REACHED_WITHIN, look_at_files

CLIENTS = {"dev": {}, "ci": {"role": "builder"}, "ops": {"role": "admin"}}

OF_BUILDERS = {
    "buildctl debug workers",
    "buildctl debug info",
    "buildctl debug histories",
    "docker-buildx inspect buildkit",
    "docker-buildx history ls --builder buildkit",
}
OF_ADMINS = {
    "buildctl du",
    "buildctl prune",
    "docker-buildx du --builder buildkit",
    "docker-buildx prune --force --builder buildkit",
    "docker-buildx history rm --all --builder buildkit",
}


@pytest.fixture(scope="module")
def module_configured(
    lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Configured]:
    yield from configuring(lab, tmp_path_factory.mktemp("access"))


@pytest.fixture(scope="module")
def named(module_configured: Configured) -> Installation:
    """A gateway that knows three clients."""
    named = module_configured({"buildkit:clients": CLIENTS, "buildkit:gateway": {"replicas": 1}})
    look_at_files(named)
    until(of(named, "ops").is_let_in, REACHED_WITHIN, lambda: LabError("ops is not let in"))
    return named


def of(installation: Installation, name: str) -> Installation:
    """The same as another client, with a builder of its own."""
    directory = installation.directory / name
    one = install(installation.lab, installation.outputs, directory, name)
    create_builder(one)
    return one


def run(one: Installation, command: str) -> tuple[int, str]:
    """How a client's command ends, and what it says."""
    tool, *arguments = command.split()
    done = one.buildctl(*arguments) if tool == "buildctl" else one.run(tool, *arguments)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("command", sorted(OF_BUILDERS))
def test_a_builder_may_ask_what_builds_need(named: Installation, command: str) -> None:
    ended, said = run(of(named, "ci"), command)
    assert ended == 0, said


DOCKERFILE = """\
FROM debian:bookworm-slim AS made
RUN --mount=type=secret,id=token --mount=type=ssh \\
  test "$(cat /run/secrets/token)" = hush && test -S "$SSH_AUTH_SOCK" && echo made > /made
FROM scratch
COPY --from=made /made /
"""
IMAGE = f"{REGISTRY}/by-a-builder:latest"
EXPORTERS = (
    f"type=image,name={IMAGE},push=true",
    "type=local,dest=files",
    "type=tar,dest=made.tar",
    "type=oci,dest=oci.tar",
    "type=docker,dest=docker.tar",
)
CACHES = ("type=inline", f"type=registry,ref={REGISTRY}/cache,mode=max", "type=local,dest=cache")
FLAGS = {
    "buildctl": {
        "cache to": "--export-cache",
        "build": "build --frontend=dockerfile.v0 --local=context=. --local=dockerfile=.",
    },
    "docker-buildx": {
        "cache to": "--cache-to",
        "build": "build --builder=buildkit . --provenance=false",
    },
}


@pytest.mark.parametrize("tool", FLAGS)
def test_a_builder_has_every_exporter_cache_secret_and_ssh_key(
    named: Installation, tool: str
) -> None:
    ci = of(named, "ci")
    (ci.directory / "Dockerfile").write_text(DOCKERFILE)
    (ci.directory / "token").write_text("hush")
    flags = FLAGS[tool]
    private = "--secret=id=token,src=token --ssh=default=certs/key.pem"
    pushed = f"--output={EXPORTERS[0]}"
    for options in (
        *(f"--output={exporter}" for exporter in EXPORTERS),
        *(f"{pushed} {flags['cache to']}={cache}" for cache in CACHES),
    ):
        ended, said = run(ci, f"{tool} {flags['build']} {private} {options}")
        assert ended == 0, f"{options}: {said}"
    assert (ci.directory / "files" / "made").read_text() == "made\n"


def test_a_builder_exports_the_record_of_a_build_as_ci_services_do(named: Installation) -> None:
    """What docker/build-push-action runs after each build."""
    ci = of(named, "ci")
    (ci.directory / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    built = "docker-buildx build --builder=buildkit --output=type=cacheonly ."
    ended, said = run(ci, f"{built} --metadata-file=built.json")
    assert ended == 0, said
    ref = json.loads((ci.directory / "built.json").read_text())["buildx.build.ref"].split("/")[-1]
    for command in ("export --finalize --output=record.dockerbuild", "inspect", "logs"):
        ended, said = run(ci, f"docker-buildx history {command} --builder=buildkit {ref}")
        assert ended == 0, f"{command}: {said}"
    with tarfile.open(ci.directory / "record.dockerbuild") as record:
        assert "index.json" in record.getnames()


@pytest.mark.parametrize("command", sorted(OF_ADMINS))
def test_an_admin_may_do_what_a_builder_may_not(named: Installation, command: str) -> None:
    _, said = run(of(named, "ci"), command)
    assert "spiffe://buildkit/client/ci may not call /moby.buildkit.v1.Control/" in said
    ended, said = run(of(named, "ops"), command)
    assert ended == 0, said
    assert "may not call" not in said


def test_a_deleted_client_is_refused_on_the_connection_that_it_has_and_others_build_on(
    named: Installation, module_configured: Configured, full: bool, record_property: Record
) -> None:
    with (
        connection(named, "ci") as ci,
        build(of(named, "dev"), BUILDCTL, waits()) as running,
    ):
        running.wait_for(BEGUN)
        assert code(ci) is grpc.StatusCode.OK
        kept = {name: role for name, role in CLIENTS.items() if name != "ci"}
        less = {"buildkit:clients": kept, "buildkit:gateway": {"replicas": 1}}
        module_configured(less)
        updated = time.monotonic()
        if not full:
            look_at_files(named)
        until(
            lambda: code(ci) is grpc.StatusCode.PERMISSION_DENIED,
            REACHED_WITHIN,
            lambda: LabError("ci is not refused"),
        )
        record_property("seconds until it is refused", round(time.monotonic() - updated))
        assert not of(named, "ci").is_let_in()
        is_let_go(named)
        assert running.result("greeting") == b"let go\n"


def connection(installation: Installation, name: str) -> grpc.Channel:
    """A connection of a client's that stays."""
    certificates = installation.outputs["clients"][name]
    ca, key, cert = (certificates[part].encode() for part in ("ca", "key", "cert"))
    return grpc.secure_channel(
        installation.outputs["endpoint"],
        grpc.ssl_channel_credentials(ca, key, cert),
        options=[("grpc.use_local_subchannel_pool", 1)],
    )


def code(channel: grpc.Channel) -> grpc.StatusCode:
    """How a question ends that every build asks."""
    workers = channel.unary_unary("/moby.buildkit.v1.Control/ListWorkers")
    answer: Any = workers.future(b"", timeout=20)
    answer.exception()
    return answer.code()


def test_a_build_has_its_line_with_its_client_and_outcome_and_its_session_its_bytes(
    named: Installation,
) -> None:
    ops = of(named, "ops")
    size = 2_000_000
    (ops.directory / "data").write_bytes(bytes(size))
    (ops.directory / "Dockerfile").write_text("FROM scratch\nCOPY data /\n")
    log = GatewayLog(named)
    done = ops.buildctl(
        *("build", "--frontend=dockerfile.v0", "--local=context=.", "--local=dockerfile=.")
    )
    assert done.returncode == 0, done.stderr
    new = log.wait(2, client="/ops", rpc="/")
    lines = {line["rpc"].rpartition("/")[2]: line for line in new}
    assert set(lines) == {"Solve", "Session"}
    assert {line["client"] for line in new} == {"spiffe://buildkit/client/ops"}
    assert lines["Solve"]["outcome"] == "OK"
    assert lines["Solve"]["milliseconds"] > 0
    assert lines["Session"]["received"] > size
    assert lines["Session"]["connection"] == lines["Solve"]["connection"]
