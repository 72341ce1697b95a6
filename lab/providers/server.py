"""The process of a provider: the SDK's own server, and what it lacks."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime.proto import provider_pb2_grpc

from lab.providers.computed import OLD_INPUTS, ComputedProvider


@asynccontextmanager
async def _user_errors(context: Any) -> AsyncIterator[None]:
    """Report a ValueError of the provider by its text only.

    The SDK handles it by raising an error with a traceback.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error.__context__, ValueError):
            raise
        await context.abort(grpc.StatusCode.UNKNOWN, str(error.__context__))


class _Servicer(ProviderServicer):
    async def Create(self, request: Any, context: Any) -> Any:
        async with _user_errors(context):
            return await super().Create(request, context)

    async def Read(self, request: Any, context: Any) -> Any:
        async with _user_errors(context):
            return await super().Read(request, context)

    async def Diff(self, request: Any, context: Any) -> Any:
        # The SDK passes on only the state. The official plugins store defaults there as well, so it
        # does not show which inputs were set.
        request.olds.fields[OLD_INPUTS].struct_value.CopyFrom(request.old_inputs)
        return await super().Diff(request, context)

    async def DiffConfig(self, request: Any, context: Any) -> Any:
        # The engine then compares for itself and shows what changed; the SDK's answer hides that.
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "DiffConfig is not implemented")


def serve(provider: ComputedProvider) -> None:
    """Serve until a signal, or until the engine that started this process has ended."""
    asyncio.run(_serve(provider))


async def _serve(provider: ComputedProvider) -> None:
    # Not the SDK's main(): SIGINT leaves tracebacks there, and the process outlives its engine.
    engine, stopping = os.getppid(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    server = grpc.aio.server()
    servicer = _Servicer([], provider.version, provider, engine_address="")
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    # A killed engine can't stop its plugins, but they then have another parent.
    while os.getppid() == engine and not stopping.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), timeout=1)
    await server.stop(grace=0.5)
