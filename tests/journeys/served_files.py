"""A service of files, and the passages that lead to it: in this process, or elsewhere (FILES names its address)."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from tierline.journeys import HTTP, Journey, Passage, build

PIECE = bytes(range(256)) * 256
SEEN: list[str] = []


async def service(scope: Any, receive: Any, send: Any) -> None:
    """PUT and POST answer what was sent; GET /files/{n} has n bytes, with ranges and an ETag."""
    if scope["type"] != "http":
        raise NotImplementedError
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    name = scope["path"].rpartition("/")[2]
    if scope["method"] in ("PUT", "POST"):
        digest, size, pieces = hashlib.sha256(), 0, 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                SEEN.append(f"left after {size > 0}")
                return
            digest.update(message["body"])
            size, pieces = size + len(message["body"]), pieces + 1
            if not message.get("more_body"):
                break
        said = f"{scope['method']} {scope['raw_path'].decode()} {size} {digest.hexdigest()} {pieces > 1}\n"
        told = said + "\n".join(f"{n}: {v}" for n, v in sorted(headers.items()))
        SEEN.append(said)
        fields = [(b"content-type", b"text/plain"), (b"set-cookie", b"a=b"), (b"x-secret", b"1")]
        await answered(send, 201, fields, told.encode())
    elif name == "seen":
        await answered(send, 200, [], "".join(SEEN).encode())
    elif name == "refused":
        await answered(send, 403, [(b"retry-after", b"7")], b"secret")
    elif name == "fails":
        raise RuntimeError("secret")
    elif name == "breaks":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise RuntimeError("secret")
    else:
        await download(int(name), scope["method"], headers, send)


async def download(size: int, method: str, headers: dict[str, str], send: Any) -> None:
    etag, status, first, last = b'"v1"', 200, 0, size - 1
    fields = [(b"etag", etag), (b"accept-ranges", b"bytes"), (b"content-type", b"image/png")]
    fields += [(b"cache-control", b"public, max-age=60"), (b"content-disposition", b"attachment")]
    if headers.get("if-none-match") == '"v1"':
        await answered(send, 304, fields, b"")
        return
    if headers.get("range", "").startswith("bytes=") and headers.get("if-range", '"v1"') == '"v1"':
        first = int(headers["range"][6:].split("-")[0])
        if first >= size:
            await answered(send, 416, [(b"content-range", b"bytes */%d" % size)], b"secret")
            return
        last, status = min(size - 1, int(headers["range"].split("-")[1] or size)), 206
        fields.append((b"content-range", b"bytes %d-%d/%d" % (first, last, size)))
    fields.append((b"content-length", b"%d" % (last - first + 1)))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    left = 0 if method == "HEAD" else last - first + 1
    while left > 0:
        piece = PIECE[: min(left, len(PIECE))]
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def answered(send: Any, status: int, fields: Any, body: bytes) -> None:
    fields = [*fields, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


film = Journey("film", "/files/film")


@film.part
def details() -> str:
    return "a journey"


PASSAGES = [
    Passage("files", "/files/{name}", to="files"),
    Passage("upload", "/uploads/{name}", to="files", at="/files/{name}", methods=["PUT", "POST"], most="200MB"),
    Passage("small", "/small/{name}", to="files", at="/files/{name}", methods=["PUT"], most=1000, timeout="500ms",
            media=["image/*", "multipart/form-data"]),
    Passage("private", "/private/{name}", to="files", at="/files/{name}", requires="files:read"),
]  # fmt: skip
where = os.environ.get("FILES")
# The nearest address is of an instance that is gone.
known = [("127.0.0.1:9", 0), (where, 1)] if where else []
files: Any = HTTP(known, name="files", forward=["authorization"]) if where else service
app = build(
    [film],
    services={"files": files},
    passages=PASSAGES,
    forward={} if where else {"files": ["authorization"]},
)
