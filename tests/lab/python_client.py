"""A client of BuildKit that shares no code with BuildKit's: grpcio, with BuildKit's .proto files.

It does what BuildKit's own client does in client/solve.go: a session, through which buildkitd calls
the client back, a solve, and a stream of the solve's status.
"""

import functools
import hashlib
import io
import socket
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, message_factory
from google.rpc import status_pb2

from lab import build
from tests.lab.conftest import Installation

BUILDKIT = "github.com/moby/buildkit"
CONTROL = "/moby.buildkit.v1.Control"
FILES = "/moby.filesync.v1.FileSend/DiffCopy"
HEALTH = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"  # a HealthCheckResponse
NOTHING = -1  # where an input or output of an operation is none
HEALTH_SECONDS = 1.0
CHUNK = 32 << 10


@functools.cache
def messages() -> dict[str, Any]:
    """The messages of the BuildKit that the lab runs, by their full names."""
    with tempfile.NamedTemporaryFile() as compiled:
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc", "--include_imports"),
            f"--proto_path={BUILDKIT}={build.module_dir('buildkit', BUILDKIT)}",
            f"--proto_path={Path(status_pb2.__file__).parents[2]}",
            f"--descriptor_set_out={compiled.name}",
            f"{BUILDKIT}/api/services/control/control.proto",
        ]
        subprocess.run(command, check=True, capture_output=True, text=True)
        files: Any = descriptor_pb2  # its classes are made when it is imported
        return message_factory.GetMessages(files.FileDescriptorSet.FromString(compiled.read()).file)


def operation(inputs: Iterable[bytes] = (), **of_a_kind: Any) -> bytes:
    """An operation of LLB, as it is sent, with earlier ones as *inputs*."""
    edges = [{"digest": digest(one)} for one in inputs]
    return messages()["pb.Op"](inputs=edges, **of_a_kind).SerializeToString()


def digest(operation: bytes) -> str:
    return f"sha256:{hashlib.sha256(operation).hexdigest()}"


def make_file(path: str, data: bytes, *before: bytes) -> bytes:
    """A file, in nothing else or in what was *before*."""
    file = {"path": path, "data": data, "mode": 0o644, "timestamp": -1}
    action = {"input": len(before) - 1, "secondaryInput": NOTHING, "mkfile": file}
    return operation(before, file={"actions": [action]})


def image(reference: str) -> bytes:
    return operation(source={"identifier": f"docker-image://{reference}"})


def run(script: str, root: bytes) -> bytes:
    """A shell's *script* in a *root*."""
    meta = {"args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"], "cwd": "/"}
    return operation([root], exec={"meta": meta, "mounts": [{"dest": "/"}]})


def copy(path: str, source: bytes) -> bytes:
    """A file of a *source*, in nothing else."""
    file = {"src": path, "dest": path, "mode": NOTHING, "timestamp": -1}
    action = {"input": NOTHING, "secondaryInput": 0, "copy": file}
    return operation([source], file={"actions": [action]})


def definition(operations: list[bytes]) -> Any:
    """What is sent for *operations*, of which the last one's result is asked for."""
    last = operation(operations[-1:])
    return messages()["pb.Definition"](**{"def": [*operations, last]})


@dataclass(frozen=True)
class Result:
    """What came of a build."""

    files: dict[str, bytes]
    """What was built, by path."""
    steps: list[Any]
    """Each `Vertex` as the status had it last, in the order in which they appeared."""
    output: str
    """What the steps printed."""

    @property
    def names(self) -> list[str]:
        """Of its steps."""
        return [step.name for step in self.steps]


class Build:
    """A build that was asked for."""

    def __init__(self, status: Future[list[Any]], solve: grpc.Future, tar: bytearray) -> None:
        self._status = status
        self._solve = solve
        self._tar = tar

    def result(self, within: float) -> Result:
        """Wait for its end.

        Raises:
            TimeoutError: it goes on for longer than so many seconds.
            grpc.RpcError: it failed.
        """
        responses = self._status.result(within)
        self._solve.result(within)
        steps = {step.digest: step for response in responses for step in response.vertexes}
        logs = (log.msg for response in responses for log in response.logs)
        with tarfile.open(fileobj=io.BytesIO(self._tar)) as archive:
            files = {one.name: archive.extractfile(one) for one in archive if one.isfile()}
            content = {name: file.read() for name, file in files.items() if file}
        return Result(content, list(steps.values()), b"".join(logs).decode())


class Client:
    """One connection, with the certificate that the stack gives a client."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    @contextmanager
    def build(self, operations: list[bytes]) -> Iterator[Build]:
        """Ask for the result of the last of these *operations* as a tar file."""
        tar = bytearray()
        session, ref = str(uuid.uuid4()), str(uuid.uuid4())
        with ExitStack() as stack:
            stack.enter_context(self._session(session, tar))
            solve = self._call("unary_unary", "Solve", "SolveResponse").future(
                messages()["moby.buildkit.v1.SolveRequest"](
                    Ref=ref,
                    Session=session,
                    Definition=definition(operations),
                    Exporters=[{"Type": "tar"}],
                )
            )
            stack.callback(solve.cancel)
            status = self._call("unary_stream", "Status", "StatusResponse")(
                messages()["moby.buildkit.v1.StatusRequest"](Ref=ref)
            )
            pool = stack.enter_context(ThreadPoolExecutor(1))
            stack.callback(status.cancel)
            yield Build(pool.submit(list, status), solve, tar)

    @contextmanager
    def _session(self, name: str, tar: bytearray) -> Iterator[None]:
        """A server for buildkitd, which speaks HTTP/2 through a stream of messages with bytes."""
        message = messages()["moby.buildkit.v1.BytesMessage"]
        metadata = [
            ("x-docker-expose-session-uuid", name),
            ("x-docker-expose-session-grpc-method", FILES),
            ("x-docker-expose-session-grpc-method", HEALTH),
            # A session that does not answer once is over.
            ("x-buildkit-session-health-custom-timeout", str(round(HEALTH_SECONDS * 1000))),
        ]
        with ExitStack() as stack:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "session.sock"
            server = grpc.server(stack.enter_context(ThreadPoolExecutor(2)), [Exposed(tar)])
            server.add_insecure_port(f"unix:{path}")
            server.start()
            stack.callback(lambda: server.stop(None).wait())
            end = stack.enter_context(closing(socket.socket(socket.AF_UNIX)))
            end.connect(str(path))
            said = (message(data=data) for data in iter(lambda: end.recv(CHUNK), b""))
            heard = self._call("stream_stream", "Session", "BytesMessage")(said, metadata=metadata)
            stack.enter_context(ThreadPoolExecutor(1)).submit(_pass_on, heard, end)
            stack.callback(end.shutdown, socket.SHUT_RDWR)
            stack.callback(heard.cancel)
            yield

    def _call(self, kind: str, rpc: str, answer: str) -> Any:
        call: Callable[..., Any] = getattr(self._channel, kind)
        return call(
            f"{CONTROL}/{rpc}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=messages()[f"moby.buildkit.v1.{answer}"].FromString,
        )


def _pass_on(heard: Iterable[Any], end: socket.socket) -> None:
    for message in heard:
        end.sendall(message.data)


class Exposed(grpc.GenericRpcHandler):
    """What buildkitd may call: whether the session is alive, and what takes the result."""

    def __init__(self, tar: bytearray) -> None:
        self._tar = tar

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        match str(handler_call_details.method).lower():
            case method if method == HEALTH.lower():
                return grpc.unary_unary_rpc_method_handler(lambda *_: SERVING)
            case method if method == FILES.lower():
                # Its messages have the fields of the session's own.
                message = messages()["moby.buildkit.v1.BytesMessage"]
                return grpc.stream_stream_rpc_method_handler(self._take, message.FromString)
        return None

    def _take(self, chunks: Iterable[Any], _: grpc.ServicerContext) -> Iterator[bytes]:
        for chunk in chunks:
            self._tar += chunk.data
        yield from ()


@contextmanager
def python_client(installation: Installation, name: str = "dev") -> Iterator[Client]:
    """A client by the *name* of its certificate, on a connection of its own."""
    certificates = installation.outputs["clients"][name]
    ca, key, cert = (certificates[part].encode() for part in ("ca", "key", "cert"))
    with grpc.secure_channel(
        installation.outputs["endpoint"],
        grpc.ssl_channel_credentials(ca, key, cert),
        options=[("grpc.use_local_subchannel_pool", 1)],
    ) as channel:
        yield Client(channel)
