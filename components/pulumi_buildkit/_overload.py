"""Keeps Envoy's memory below its container's limit, whatever clients send.

From https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/operations/overload_manager/overload_manager.
"""

from typing import Any

from pulumi_buildkit._message import extension

# Of the container's limit. The kernel's buffers are in it as well, and what arrives between two
# looks at the heap.
_HEAP_SHARE = 0.6
_LOOKS_EVERY = "0.1s"
# Shares of the heap: free pages go back to the kernel; the largest streams are reset, more of them
# the nearer the heap is to the second share; new requests are refused; new connections are.
_SHRINK = 0.7
_RESET = (0.75, 0.95)
_REFUSE_REQUESTS = 0.95
_REFUSE_CONNECTIONS = 0.98
# A stream with fewer bytes than 2 to this power is never reset.
_SMALL_STREAM = 20
# About what a connection takes that has said nothing yet.
_CONNECTION_BYTES = 32 * 1024

_HEAP = "envoy.resource_monitors.fixed_heap"
METRICS = (
    r"envoy\.overload_actions\.reset_high_memory_stream\.count",
    r"overload\.envoy\.overload_actions\.(stop_accepting_requests|reject_incoming_connections)\.active",
    r"overload\.envoy\.resource_monitors\.fixed_heap\.pressure",
    r"listener\.clients\.downstream_global_cx_overflow",
)
"""Statistics of it, as regular expressions."""


def manager(memory: int) -> dict[str, Any]:
    """The overload manager of an Envoy whose container may have *memory* bytes."""
    heap = int(memory * _HEAP_SHARE)
    lowest, highest = _RESET
    scaled = {"scaling_threshold": lowest, "saturation_threshold": highest}
    return {
        "refresh_interval": _LOOKS_EVERY,
        "resource_monitors": [
            extension(
                _HEAP,
                "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                max_heap_size_bytes=heap,
            ),
            extension(
                "envoy.resource_monitors.global_downstream_max_connections",
                "envoy.extensions.resource_monitors.downstream_connections.v3"
                ".DownstreamConnectionsConfig",
                max_active_downstream_connections=heap // _CONNECTION_BYTES,
            ),
        ],
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _SMALL_STREAM},
        "actions": [
            _action("shrink_heap", threshold={"value": _SHRINK}),
            _action("reset_high_memory_stream", scaled=scaled),
            _action("stop_accepting_requests", threshold={"value": _REFUSE_REQUESTS}),
            _action("reject_incoming_connections", threshold={"value": _REFUSE_CONNECTIONS}),
        ],
    }


def _action(name: str, **trigger: Any) -> dict[str, Any]:
    return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": _HEAP, **trigger}]}
