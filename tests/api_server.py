"""A stand-in for a cluster's API server."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Object = dict[str, Any]


@dataclass
class Api:
    """An API server that answers with *objects*, by path, and `404` or another status."""

    objects: dict[str, Object] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def kubeconfig(self) -> Object:
        def named(kind: str, **of: Any) -> list[Object]:
            return [{"name": "stub", kind: of}]

        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "stub",
            "clusters": named("cluster", server=f"http://127.0.0.1:{self.port}"),
            "contexts": named("context", cluster="stub", user="stub"),
            # Longer than any path, as certificates are.
            "users": named("user", token="secret" * 1000),
        }


@contextmanager
def api_server() -> Iterator[Api]:
    """The stand-in, until it is not needed any more."""
    stub = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            stub.asked.append(self.path)
            found = stub.objects.get(path)
            status = stub.statuses.get(path, 200 if found is not None else 404)
            body = json.dumps(found if status == 200 else {"kind": "Status"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stub.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield stub
        server.shutdown()
        thread.join()
