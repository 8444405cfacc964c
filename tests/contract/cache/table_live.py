"""What lasts: streams, and connections that change their protocol. No tier may keep them back."""

from __future__ import annotations

import asyncio

from cache_lab import HOST, Trial, cc, may


@may("stream", "9112 7.1", "What nobody keeps goes on as it comes: an event doesn't wait for the next.")
async def stream(t: Trial) -> None:
    answer = cc("no-store", body=b"data: 1\ndata: 2\ndata: 3\n", content_type="text/event-stream")
    t.script(answer)
    for _ in range(3):  # also when it is known that they aren't kept
        answer.next = asyncio.Semaphore(0)
        reader, writer = await asyncio.open_connection(*t.address)
        try:
            writer.write(f"GET /{t.key} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            for event in (b"data: 1\n", b"data: 2\n", b"data: 3\n"):
                await asyncio.wait_for(
                    reader.readuntil(event), 30
                )  # the next one is sent when this one is here
                answer.next.release()
        finally:
            writer.close()


@may("websocket", "6455 4", "A WebSocket goes through.")
async def websocket(t: Trial) -> None:
    t.script(cc("max-age=60"))
    reader, writer = await asyncio.open_connection(*t.address)
    try:
        writer.write(
            f"GET /{t.key} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).lower()
        assert head.startswith(b"http/1.1 101") and b"s3pplmbitxaq9kygzzhzrbk+xoo=" in head, head
        for word in (b"\x81\x82\0\0\0\0hi", b"\x81\x83\0\0\0\0you"):
            writer.write(word)
            assert await asyncio.wait_for(reader.readexactly(len(word)), 30) == word
    finally:
        writer.close()
