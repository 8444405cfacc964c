"""A local AWS server to create stacks on, in an environment of its own since it pins botocore.

The environment is made once, in the user's cache folder. The server is started for a test run and stopped after
it; it listens on loopback only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ports import free_port
from waiting import eventually

SERVER = "ministack==1.5.33"


def python() -> str:
    """The interpreter that has the server. Raises CalledProcessError when it can't be installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tierline"
    home = cache / f"{SERVER.replace('==', '-')}-{sys.version_info.major}.{sys.version_info.minor}"
    done = home / ".ready"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        subprocess.run(
            [home / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", SERVER],
            check=True,
        )
        done.touch()
    return str(home / "bin/python")


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The server's address, until the end of the block."""
    port = free_port()
    rows = Path(__file__).with_name("local_aws_rows.py")
    env = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "WARNING", "S3_DATA_DIR": str(folder / "s3"),
        # No container engine is asked for anything.
        "DOCKER_HOST": f"unix://{folder}/none.sock",
    }  # fmt: skip
    log = (folder / "server.log").open("wb")
    process = subprocess.Popen([python(), str(rows), str(port)], env=env, cwd=folder, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process, folder / "server.log")
        yield address
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    def up() -> bool:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{address}/_ministack/health", timeout=60).close()
            return True
        return False

    if not eventually(lambda: process.poll() is not None or up()) or process.poll() is not None:
        raise RuntimeError(f"the local AWS server did not come up:\n{log.read_text()[-2000:]}")


class Account:
    """Clients of the local server, by service and region; `region` where none is said."""

    def __init__(self, address: str, region: str = "eu-west-1") -> None:
        import botocore.session

        self._address = address
        self.region = region
        self._session = botocore.session.Session()
        self._clients: dict[tuple[str, str], Any] = {}

    def at(self, region: str) -> Account:
        """The same account, seen from another region."""
        return Account(self._address, region)

    def client(self, service: str, region: str = "") -> Any:
        region = region or self.region
        if (service, region) not in self._clients:
            self._clients[service, region] = self._session.create_client(
                service,
                region_name=region,
                endpoint_url=self._address,
                aws_access_key_id="local",
                aws_secret_access_key="local",
            )
        return self._clients[service, region]
