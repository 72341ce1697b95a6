"""Frames of HTTP/2, for what no library sends. https://www.rfc-editor.org/rfc/rfc9113"""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 2, 3, 4, 6, 8
END_STREAM, END_HEADERS = 1, 4
_CANCEL = 8


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    head = len(payload).to_bytes(3) + bytes([kind, flags])
    return head + stream.to_bytes(4) + payload


def call(path: str, body: bytes = b"", stream: int = 1, authority: str = "localhost") -> bytes:
    """A gRPC call with a *body* that has its own message headers; without one, it does not end."""
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":path": path,
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
    begins = frame(HEADERS, block, END_HEADERS, stream)
    return begins + (frame(DATA, body, END_STREAM, stream) if body else b"")


def reset(stream: int) -> bytes:
    return frame(RST_STREAM, _CANCEL.to_bytes(4), stream=stream)


def _text(text: str) -> bytes:
    """Of HPACK, without Huffman's code."""
    return bytes([len(text)]) + text.encode()
