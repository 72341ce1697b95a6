"""The gRPC stubs that the Pulumi SDK ships, without importing the SDK.

`import pulumi.runtime.proto` runs the whole SDK first, which takes four times as long as the stubs
themselves, and the engine starts one process a provider. So the parent packages are stood in for by
empty ones while the stubs load.
"""

import importlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_PACKAGES = ("pulumi", "pulumi.runtime", "pulumi.runtime.proto")


def _load(*names: str) -> list[Any]:
    stand_ins = {} if "pulumi" in sys.modules else _stand_ins()
    sys.modules.update(stand_ins)
    try:
        return [importlib.import_module(f"pulumi.runtime.proto.{name}") for name in names]
    finally:
        for name in stand_ins:
            del sys.modules[name]


def _stand_ins() -> dict[str, ModuleType]:
    spec = PathFinder.find_spec("pulumi")
    if spec is None or spec.origin is None:
        raise ImportError("the Pulumi SDK is not installed for this Python")
    packages = {}
    for name in _PACKAGES:
        module = ModuleType(name)
        module.__path__ = [str(Path(spec.origin).parent.joinpath(*name.split(".")[1:]))]
        packages[name] = module
    return packages


provider_pb2, provider_pb2_grpc, engine_pb2, engine_pb2_grpc, plugin_pb2, status_pb2 = _load(
    "provider_pb2",
    "provider_pb2_grpc",
    "engine_pb2",
    "engine_pb2_grpc",
    "plugin_pb2",
    "status_pb2",
)
any_pb2, empty_pb2, struct_pb2 = (
    importlib.import_module(f"google.protobuf.{name}_pb2") for name in ("any", "empty", "struct")
)
