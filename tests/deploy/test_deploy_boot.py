"""User data, run: what an instance does when it starts, with stand-ins for the commands of AWS."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from tierline.deploy.synth import Synthesis

SECRETS = {
    "login": '{"username":"line","password":"p@ss/w\'rd $x"}',
    "token": '{"token":"abc123"}',
    "key": "-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----",
    "smtp": '{"username":"AKIA","key":"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}',
}


class Instance:
    """A folder that is a machine: its commands log what they were asked."""

    def __init__(self, folder: Path, zone: str) -> None:
        self.folder = folder
        bin = folder / "bin"
        bin.mkdir(parents=True)
        secrets = "\n".join(f"*{name}*) cat {folder}/{name}.secret ;;" for name in SECRETS)
        for name, text in SECRETS.items():
            (folder / f"{name}.secret").write_text(text + "\n")
        for command, does in {
            "aws": f'case "$*" in {secrets} *) exit 254 ;; esac',
            "curl": f'case "$*" in *token-ttl*) echo t ;; *) echo eu-west-1{zone} ;; esac',
            "systemctl": f'echo "$@" >>{folder}/systemctl.log',
            "chown": f'echo "$@" >>{folder}/chown.log',
        }.items():
            (bin / command).write_text(f"#!/bin/bash\n{does}\n")
            (bin / command).chmod(0o755)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        for folder in ("etc", "run"):
            script = re.sub(rf"(?<![\w.])/{folder}/", f"{self.folder}/{folder}/", script)
        (self.folder / "etc").mkdir(exist_ok=True)
        (self.folder / "run").mkdir(exist_ok=True)
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        return subprocess.run(["bash"], input=script, text=True, capture_output=True, env={"PATH": path})

    def start(self, service: str) -> subprocess.CompletedProcess[str]:
        """What systemd runs before it starts the service."""
        return self.run((self.folder / f"etc/tierline/{service}.start").read_text())

    def environment(self, service: str) -> dict[str, str]:
        """The environment file as systemd reads it: a quoted value per line."""
        found = {}
        for line in (self.folder / f"run/tierline/{service}.env").read_text().splitlines():
            name, _, value = line.partition("=")
            quote, inner = value[0], value[1:-1]
            assert value[-1] == quote and quote in "\"'", line
            found[name] = re.sub(r"\\(.)", r"\1", inner) if quote == '"' else inner
        return found


def script(synthesis: Synthesis, launch: str, values: dict[str, str]) -> str:
    """The user data with the references that CloudFormation would fill in."""
    (stack,) = [each for each in synthesis.stacks if each.layer == "apps"]
    data = stack.template["Resources"][launch]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"][
        "Fn::Sub"
    ]
    known = {"AWS::Region": "eu-west-1", **values}

    def fill(match: re.Match[str]) -> str:
        return known.get(match[1], f"<{match[1]}>")

    return re.sub(r"\$\{(?!!)([^}]+)\}", fill, data).replace("${!", "${")


def test_a_service_finds_its_secrets_in_its_environment_and_nowhere_else(
    tmp_path: Path, synthesized: Callable[[str], Synthesis]
) -> None:
    text = script(
        synthesized("cinema"),
        "CatalogLaunch",
        {
            "FilmsDatabaseMasterUserSecretSecretArn": "login",
            "HotToken": "token",
            "FilmsDatabaseEndpointAddress": "writer.test",
            "FilmsDatabaseReadEndpointAddress": "reader.test",
            "HotStorePrimaryEndPointAddress": "hot.test",
            "HotStorePrimaryEndPointPort": "6379",
        },
    )
    instance = Instance(tmp_path, "b")
    assert instance.run(text).stderr == ""
    assert "enable --now tierline@catalog" in (tmp_path / "systemctl.log").read_text()
    for file in (tmp_path / "etc/tierline").iterdir():
        assert "p@ss" not in file.read_text() and "abc123" not in file.read_text()

    done = instance.start("catalog")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    found = instance.environment("catalog")
    assert (
        found["DATABASE_URL"]
        == "postgresql://line:p%40ss%2Fw%27rd%20%24x@writer.test:5432/films?sslmode=require"
    )
    assert found["DATABASE_READ_URL"].endswith("@reader.test:5432/films?sslmode=require")
    assert found["REDIS_URL"] == found["HOT_REDIS_URL"] == "rediss://:abc123@hot.test:6379/0"
    assert found["TIERLINE_ZONE"] == "b"
    assert (found["PORT"], found["HOST"]) == ("8000", "0.0.0.0")
    assert stat.S_IMODE((tmp_path / "run/tierline/catalog.env").stat().st_mode) == 0o600


def test_a_secret_that_cannot_be_fetched_keeps_the_service_from_starting(
    tmp_path: Path, synthesized: Callable[[str], Synthesis]
) -> None:
    instance = Instance(tmp_path, "a")
    instance.run(script(synthesized("cinema"), "CatalogLaunch", {"HotToken": "unknown"}))
    assert instance.start("catalog").returncode != 0
    assert not (tmp_path / "run/tierline/catalog.env").exists()


def test_a_key_is_a_file_of_the_service_alone(
    tmp_path: Path, synthesized: Callable[[str], Synthesis]
) -> None:
    arns = {
        "SigningKey": "key",
        "AccountsDatabaseMasterUserSecretSecretArn": "login",
        "SessionToken": "token",
    }
    instance = Instance(tmp_path, "a")
    instance.run(script(synthesized("cinema"), "MembersLaunch", arns))
    assert instance.start("members").stderr == ""
    path = Path(instance.environment("members")["JWT_SIGNING_KEY_FILE"])
    assert path.read_text() == SECRETS["key"] + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / "chown.log").read_text() == f"tierline {path}\n"


def test_the_smtp_password_is_the_one_that_aws_documents(
    tmp_path: Path, synthesized: Callable[[str], Synthesis]
) -> None:
    arns = {"AccountsDatabaseMasterUserSecretSecretArn": "login", "ReceiptsLogin": "smtp"}
    instance = Instance(tmp_path, "a")
    instance.run(script(synthesized("cinema"), "OrdersLaunch", arns))
    assert instance.start("orders").stderr == ""
    url = instance.environment("orders")["SMTP_URL"]
    password = url.removeprefix("smtp://AKIA:").removesuffix("@email-smtp.eu-west-1.amazonaws.com:587")
    assert len(password) >= 44 and password.startswith("B"), url


def test_the_edge_runs_the_cache_before_the_gateway(
    tmp_path: Path, synthesized: Callable[[str], Synthesis]
) -> None:
    instance = Instance(tmp_path, "a")
    keys = json.dumps({"keys": [{"kty": "EC"}]})
    instance.run(script(synthesized("cinema"), "EdgeLaunch", {"Jwks": keys}))
    for service in ("cache", "gateway"):
        assert instance.start(service).stderr == ""
    cache, gateway = instance.environment("cache"), instance.environment("gateway")
    assert cache["GATEWAY_URL"] == f"http://127.0.0.1:{gateway['PORT']}"
    assert gateway["JWKS"] == keys
    assert re.fullmatch(r"http://apps\.cinema\.internal:81\d\d", gateway["CATALOG_URL"])


def test_a_variable_is_what_the_stack_says_whatever_is_in_it(
    tmp_path: Path, synthesized: Callable[[str], Synthesis]
) -> None:
    arns = {"SigningKey": "key", "SessionToken": "token"}
    instance = Instance(tmp_path, "c")
    instance.run(script(synthesized("shop"), "BasketLaunch", arns))
    assert instance.start("basket").stderr == ""
    found = instance.environment("basket")
    assert found["GREETING"] == 'it\'s "good" ${to} see $you'
    assert found["TIERLINE_ZONE"] == "c"
