"""gRPC servers and a client that need no generated code: messages are plain bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


class Servers:
    """A server per name, each on its address, as long as the block lasts."""

    def __init__(self, where: Mapping[str, tuple[str, int]]) -> None:
        self._servers = [_server(name, *address) for name, address in where.items()]

    def __enter__(self) -> None:
        for server in self._servers:
            server.start()

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.stop(0.2)


def _server(name: str, host: str, port: int) -> Any:
    def once(data: bytes, context: Any) -> bytes:
        if data == b"nothing":
            context.abort(grpc.StatusCode.NOT_FOUND, "nothing of that name")
        context.set_trailing_metadata((("x-trailer", "told"),))
        return data + b" from " + name.encode()

    def stream(data: bytes, _: Any) -> Iterator[bytes]:
        for number in range(int(data)):
            yield str(number).encode()

    def chat(items: Iterator[bytes], _: Any) -> Iterator[bytes]:
        for each in items:
            yield each.upper()

    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {
        "Once": grpc.unary_unary_rpc_method_handler(once),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    assert server.add_insecure_port(f"{host}:{port}") == port
    return server


class Calls:
    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def once(self, data: bytes) -> tuple[bytes, str]:
        """The answer, and what its trailer says."""
        answer, call = self._channel.unary_unary("/test.Echo/Once").with_call(data, timeout=60)
        return answer, dict(call.trailing_metadata()).get("x-trailer", "")

    def refused(self) -> tuple[str, str]:
        try:
            self.once(b"nothing")
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ""

    def stream(self, count: int) -> list[bytes]:
        return list(self._channel.unary_stream("/test.Echo/Stream")(str(count).encode(), timeout=60))

    def chat(self, items: Iterable[bytes]) -> list[bytes]:
        return list(self._channel.stream_stream("/test.Echo/Chat")(iter(items), timeout=60))


@contextlib.contextmanager
def calls(address: str, host: str, authority: bytes) -> Iterator[Calls]:
    """A client over TLS."""
    options = [("grpc.ssl_target_name_override", host), ("grpc.default_authority", host)]
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(authority), options) as channel:
        yield Calls(channel)
