"""What Envoy's container runs before it is stopped, beside stand-ins for its admin interface."""

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pulumi_buildkit import _drain, _script

ACTIVE, TOTAL = "http.buildkit.downstream_rq_active", "http.buildkit.downstream_rq_total"


def drain(port: int, limit: int) -> tuple[subprocess.CompletedProcess[str], float]:
    """How the hook ends, and after how many seconds."""
    command = _script.command("bash", ("drain.sh", "drain_gateway.sh"), port, ACTIVE, TOTAL, limit)
    # On this machine process 1 keeps no log of the hook.
    command[2] = command[2].replace("/proc/1/fd/2", "/dev/stderr")
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done, time.monotonic() - began


@contextlib.contextmanager
def admin(active: int) -> Iterator[int]:
    """An Envoy with so many requests, as its admin interface's port says."""

    class Statistics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            number = active if self.path.endswith(ACTIVE) else 7
            self.wfile.write(f"{self.path.partition('=')[2]}: {number}\n".encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Statistics) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def frozen() -> Iterator[int]:
    """Connects succeed, and nothing is answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def long_frozen() -> Iterator[int]:
    """The same when no more connections fit into its queue."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as server,
        socket.create_connection(server.getsockname()),
    ):
        yield server.getsockname()[1]


def test_it_ends_when_nothing_is_active() -> None:
    with admin(active=0) as port:
        done, seconds = drain(port, limit=60)
    assert done.returncode == 0
    assert "drain: done" in done.stderr
    assert 5 <= seconds < 15


def test_what_is_active_at_the_limit_is_cut() -> None:
    with admin(active=3) as port:
        done, _ = drain(port, limit=2)
    assert done.returncode == 1
    assert "drain: cuts 3 that are open: the limit of 2 s is over" in done.stderr


@pytest.mark.parametrize("hangs", [frozen, long_frozen])
def test_beside_an_envoy_that_hangs_it_ends_before_kubernetes_ends_it(
    hangs: Callable[[], AbstractContextManager[int]],
) -> None:
    limit = 2
    with hangs() as port:
        done, seconds = drain(port, limit)
    assert done.returncode == 1
    assert f"drain: cuts all that are open: the limit of {limit} s is over" in done.stderr
    assert seconds < _drain.grace_period(limit)
