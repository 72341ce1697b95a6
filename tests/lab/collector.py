"""A collector of OpenTelemetry's traces, which says the names of the spans that it is sent.

`python tests/lab/collector.py HOST:PORT`
"""

import re
import sys
from concurrent import futures

import grpc

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class _Collector(grpc.GenericRpcHandler):
    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        if handler_call_details.method != _EXPORT:
            return None
        return grpc.unary_unary_rpc_method_handler(self._export)

    def _export(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        # Names are plain text in what is sent, and that they come is all that is asked.
        for name in re.findall(rb"[\w.]+/\w+", request):
            print(name.decode(), flush=True)
        return b""


def main(address: str) -> None:
    """Collect until somebody ends it."""
    server = grpc.server(futures.ThreadPoolExecutor(2), [_Collector()])
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1])
