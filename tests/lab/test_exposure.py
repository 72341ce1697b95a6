"""How clients reach the gateway, on a cluster that has a say in it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lab import LabError
from lab.network import HOST_ADDRESS
from lab.node import until
from tests.lab.conftest import Configured, Installation
from tests.lab.gateway_log import GatewayLog


def test_a_node_that_keeps_connections_to_its_own_pods_shows_them_the_client_s_address(
    configured: Configured,
) -> None:
    local = {"externalTrafficPolicy": "Local", "replicas": 1}
    installation = configured({"buildkit:gateway": local})
    log = GatewayLog(installation)
    assert installation.build("local", "by a node of one's own").returncode == 0
    assert {line["address"] for line in log.wait(2, rpc="/")} == {HOST_ADDRESS}


CLIENT = "192.0.2.7"
SAID_OF_CLIENT = f"PROXY TCP4 {CLIENT} 192.0.2.1 50000 1234\r\n".encode()


@contextmanager
def load_balancer(endpoint: str) -> Iterator[int]:
    """A port of this machine that says of each connection's client, by the PROXY protocol."""
    host, port = endpoint.split(":")

    def copy(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while said := one.recv(65536):
                other.sendall(said)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def take(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                down, _ = listener.accept()
                up = socket.create_connection((host, int(port)))
                up.sendall(SAID_OF_CLIENT)
                for ends in ((down, up), (up, down)):
                    threading.Thread(target=copy, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=take, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_behind_a_load_balancer_that_speaks_the_proxy_protocol_the_log_has_the_client_s_address(
    configured: Configured,
) -> None:
    installation = configured({"buildkit:gateway": {"proxyProtocol": True, "replicas": 1}})
    until(
        lambda: not installation.is_let_in(),
        30,
        lambda: LabError("a client is let in that no load balancer speaks of"),
    )
    log = GatewayLog(installation)
    with load_balancer(installation.outputs["endpoint"]) as port:
        outputs = {**installation.outputs, "endpoint": f"127.0.0.1:{port}"}
        behind = Installation(installation.lab, outputs, installation.directory)
        assert behind.build("proxied", "behind a load balancer").returncode == 0
    assert {line["address"] for line in log.wait(2, rpc="/")} == {CLIENT}
