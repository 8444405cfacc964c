"""Buckets and their first files: `python -m tierline.engines.seaweedfs.provision CONFIG.json`.

Runs at every start. A bucket that is there is left alone; a folder fills a bucket once, which the marker
object `.tierline-filled` in it says. Speaks S3 by the standard library: an SDK would take longer to import
than the server to start.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import mimetypes
import shutil
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

MARKER = ".tierline-filled"
NOTE = "sockets.json"
"""In the data folder: the sockets of the last run."""


class S3:
    """Signed requests (AWS Signature Version 4) over one connection."""

    def __init__(self, host: str, port: int, region: str, access_key: str, secret_key: str) -> None:
        self.host = f"{host}:{port}"
        self.region = region
        self.access_key = access_key
        self.secret_key = secret_key
        self.connection = http.client.HTTPConnection(host, port, timeout=30)

    def request(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> int:
        """The status. `path` is unquoted and has no query."""
        target = quote(path, safe="/-_.~")
        headers = self._signed(method, target, hashlib.sha256(body).hexdigest())
        if content_type:
            headers["Content-Type"] = content_type
        try:
            self.connection.request(method, target, body=body, headers=headers)
            response = self.connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise
        return response.status

    def _signed(self, method: str, target: str, digest: str) -> dict[str, str]:
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        headers = {"host": self.host, "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(headers)
        canonical = "\n".join(
            [method, target, "", *(f"{name}:{value}" for name, value in headers.items()), "", names, digest]
        )
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = b"AWS4" + self.secret_key.encode()
        for part in (*scope.split("/"), text):
            key = hmac.digest(key, part.encode(), "sha256")
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, SignedHeaders={names},"
            f" Signature={key.hex()}"
        )
        return headers


def bucket(s3: S3, name: str) -> None:
    """The bucket, made if it is missing. The server may answer a moment before it can make one."""
    limit = time.monotonic() + 10
    while True:
        try:
            if (status := s3.request("HEAD", f"/{name}")) == 200:
                return
            if status == 404 and (status := s3.request("PUT", f"/{name}")) == 200:
                print(f"made bucket {name}")
                return
        except (OSError, http.client.HTTPException) as problem:
            status = 0
            if time.monotonic() > limit:
                raise SystemExit(f"{name}: {problem}") from problem
        if time.monotonic() > limit:
            raise SystemExit(f"{name}: the bucket can't be made, the server answered {status}")
        time.sleep(0.05)


def fill(s3: S3, name: str, folder: Path) -> None:
    """All files below the folder, once."""
    if s3.request("HEAD", f"/{name}/{MARKER}") == 200:
        return
    if not folder.is_dir():
        raise SystemExit(f"{name}: files {str(folder)!r} is not a folder")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        key = path.relative_to(folder).as_posix()
        if (status := s3.request("PUT", f"/{name}/{key}", path.read_bytes(), kind)) != 200:
            raise SystemExit(f"{name}: {path} can't be stored, the server answered {status}")
    if s3.request("PUT", f"/{name}/{MARKER}") != 200:
        raise SystemExit(f"{name}: can't be marked as filled")
    print(f"filled bucket {name} with {len(files)} files")


def forget(data: Path, master: int) -> None:
    """The notes that a master on another port left: it names its folder by the port of the day."""
    for folder in data.glob("m[0-9]*"):
        if folder.is_dir() and folder.name != f"m{master}":
            shutil.rmtree(folder, ignore_errors=True)


def sweep(note: Path, now: list[str]) -> None:
    """Removes the sockets of a run that was killed, which are noted, unless somebody listens there again."""
    before = json.loads(note.read_text()) if note.exists() else []
    if before == now:
        return
    note.write_text(json.dumps(now))
    for path in set(before) - set(now):
        unlink(path)


def unlink(path: str) -> None:
    """Remove a socket on which nobody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
        except OSError:
            return


def main(path: str) -> None:
    config: dict[str, Any] = json.loads(Path(path).read_text())
    host, port = config["endpoint"]
    s3 = S3(host, port, config["region"], config["access_key"], config["secret_key"])
    for name, files in config["buckets"].items():
        bucket(s3, name)
        if files:
            fill(s3, name, Path(config["project"], files))
    forget(Path(config["data"]), config["master"])
    sweep(Path(config["data"], NOTE), config["sockets"])


if __name__ == "__main__":
    main(sys.argv[1])
