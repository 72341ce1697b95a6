"""Limits of Envoy that a build can meet and BuildKit does not have: all of them raised.

docs/decisions/gateway-limits.md lists them with the limits that stay. Defaults are those of
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/core/v3/protocol.proto.
"""

from typing import Any

UNLIMITED = 2**32 - 1
"""The highest value of a circuit breaker."""
# The highest that HTTP/2 has. `docker buildx bake` opens three streams for each target.
_STREAMS = 2**31 - 1
# A client that stops reading for a moment, or a bake that is cancelled.
_FRAMES = 1_000_000
_CONTROL_FRAMES = 100_000
_HEADERS = 10_000
# The highest that Envoy has. BuildKit puts the Dockerfile and the command into the error.
_TRAILERS_KB = 8192
# Half of them may be reset before they were answered, as by a bake that is cancelled.
_RESETS = 100_000
_RESETS_A_SECOND = 1_000

_BOTH_WAYS: dict[str, Any] = {
    "max_concurrent_streams": _STREAMS,
    "max_outbound_frames": _FRAMES,
    "max_outbound_control_frames": _CONTROL_FRAMES,
}
HTTP2: dict[str, Any] = {
    **_BOTH_WAYS,
    # nghttp2's own: 1,000 at once, and 33 a second.
    "stream_reset_burst": _RESETS,
    "stream_reset_rate": _RESETS_A_SECOND,
}
"""HTTP/2 options towards clients."""
UPSTREAM_HTTP2: dict[str, Any] = {
    **_BOTH_WAYS,
    # Envoy's default codec takes 64 KiB for one field of trailers.
    "use_oghttp2_codec": True,
}
"""HTTP/2 options towards buildkitd."""
REQUEST_HEADERS: dict[str, Any] = {"max_headers_count": _HEADERS}
"""Common HTTP options towards clients."""
RESPONSE_HEADERS: dict[str, Any] = {
    "max_headers_count": _HEADERS,
    "max_response_headers_kb": _TRAILERS_KB,
}
"""Common HTTP options towards buildkitd."""
RUNTIME: dict[str, Any] = {
    "layers": [
        {
            "name": "limits",
            "static_layer": {"overload.premature_reset_total_stream_count": _RESETS},
        }
    ]
}
"""Limits that Envoy's API has no field for."""
