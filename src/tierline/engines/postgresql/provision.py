"""Users, databases, schemas, first data: `python -m tierline.engines.postgresql.provision CONFIG.json`.

Runs at every start of the primary and changes only what is missing. What was applied is recorded inside
each database (`tierline.applied`), so that data that is restored elsewhere knows it too.

Each database belongs to its own user, who may do anything in it and nothing outside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote


class ProvisionError(Exception):
    """What the user is told."""


_RECORD = """
CREATE SCHEMA IF NOT EXISTS tierline;
CREATE TABLE IF NOT EXISTS tierline.applied (
    kind text NOT NULL,
    name text NOT NULL,
    hash text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, name)
);
"""
_APPLIED = (
    "SELECT to_regclass('tierline.applied') IS NOT NULL AS known \\gset\n"
    "\\if :known\n"
    "SELECT kind, name, hash FROM tierline.applied;\n"
    "\\endif\n"
)


class Server:
    """The primary, through psql: passwords come from a pgpass file, statements go in by standard input."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PGPASSFILE": config["passwords"],
            "PGCONNECT_TIMEOUT": "5",
            "PGSSLMODE": "disable",
            "PGOPTIONS": "-c client_min_messages=warning",
            "LC_ALL": "C.UTF-8",
        }

    def run(self, user: str, database: str, *arguments: str, script: str = "") -> list[list[str]]:
        """Rows of what the script or the arguments select."""
        address = ["-h", self.config["host"], "-p", str(self.config["port"]), "-U", user, "-d", database]
        done = subprocess.run(
            [self.config["psql"], "-XqAt", "-w", "-F", "\t", "-v", "ON_ERROR_STOP=1", *address, *arguments],
            input=script,
            capture_output=True,
            text=True,
            cwd=self.config["project"],
            env=self.environment,
            check=False,
        )
        if done.returncode:
            raise ProvisionError(done.stderr.strip() or f"psql ended with {done.returncode}")
        return [line.split("\t") for line in done.stdout.splitlines() if line]


def literal(value: str) -> str:
    """A value as an SQL string."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'" if "\\" in value else f"'{escaped}'"


def identifier(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def accounts(server: Server) -> None:
    """The replication user, and a user and a database per resource."""
    config = server.config
    superuser = config["superuser"]
    rows = server.run(
        superuser,
        "postgres",
        script="SELECT 'user', rolname FROM pg_roles UNION ALL SELECT 'database', datname FROM pg_database;",
    )
    there = {(kind, name) for kind, name in rows}
    script: list[str] = []
    replication = config["replication"]
    if ("user", replication["user"]) not in there:
        script.append(
            f"CREATE ROLE {identifier(replication['user'])} LOGIN REPLICATION"
            f" PASSWORD {literal(replication['password'])};"
        )
    for one in config["databases"]:
        user, database = identifier(one["user"]), identifier(one["database"])
        if ("user", one["user"]) not in there:
            script.append(f"CREATE ROLE {user} LOGIN PASSWORD {literal(one['password'])};")
        if ("database", one["database"]) not in there:
            script.append(f"CREATE DATABASE {database} OWNER {user};")
            script.append(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC;")
            print(f"made database {one['database']}")
    if script:
        server.run(superuser, "postgres", script="\n".join(script))


def fill(server: Server, one: dict[str, Any]) -> None:
    """Schema files that are new, then the load command if it never ran."""
    if not one["schema"] and not one["load"]:
        return
    user, database = one["user"], one["database"]
    rows = server.run(user, database, script=_APPLIED)
    applied = {(kind, name): digest for kind, name, digest in rows}
    arguments: list[str] = [] if rows else ["-c", _RECORD]
    names: list[str] = []
    for path, name, digest in schema_files(server.config["project"], one):
        known = applied.get(("schema", name))
        if known == digest:
            continue
        if known is not None:
            raise ProvisionError(
                f"{one['schema']}/{name} was applied to database {database!r} and has changed since. Restore"
                " it and put the change into a new file that sorts after it, or start afresh with"
                " `tierline down --volumes`."
            )
        arguments += ["-f", path, "-c", _record("schema", name, digest)]
        names.append(name)
    if names:
        server.run(user, database, "-1", *arguments)
        print(f"applied {', '.join(names)} to {database}")
    if one["load"]:
        load(server, one, applied.get(("load", "load")), recorded=bool(rows or names))


def schema_files(project: str, one: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Path (as given, for messages), name and digest of each *.sql file, in order."""
    if not one["schema"]:
        return []
    folder = Path(project, one["schema"])
    if not folder.is_dir():
        raise ProvisionError(f"{one['resource']}: schema {one['schema']!r} is not a folder of {project}")
    return [
        (str(Path(one["schema"]) / file.name), file.name, hashlib.sha256(file.read_bytes()).hexdigest())
        for file in sorted(folder.glob("*.sql"))
    ]


def load(server: Server, one: dict[str, Any], known: str | None, *, recorded: bool) -> None:
    """The command that fills a new database. Only one that ended well counts as run."""
    config, command = server.config, list(one["load"])
    digest = hashlib.sha256(json.dumps(command).encode()).hexdigest()
    if command[0] in ("python", "python3"):
        command[0] = config["python"]  # the one that the line runs on
    if known is not None:
        if known != digest:
            print(
                f"{one['resource']}: the load command has changed since it ran, and is not run again."
                " To load afresh: tierline down --volumes"
            )
        return
    if not recorded:
        server.run(one["user"], one["database"], script=_RECORD)
    address = f"{config['host']}:{config['port']}"
    environment = {
        **os.environ,
        # Commands that the environment of the line installed are found too.
        "PATH": f"{Path(config['python']).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "DATABASE_URL": f"postgresql://{one['user']}:{quote(one['password'])}@{address}/{one['database']}",
    }
    try:
        done = subprocess.run(
            command, cwd=config["project"], env=environment, stdin=subprocess.DEVNULL, check=False
        )
    except OSError as problem:
        raise ProvisionError(f"{one['resource']}: load command {command[0]!r}: {problem}") from problem
    if done.returncode:
        raise ProvisionError(
            f"{one['resource']}: the load command ended with {done.returncode}: {' '.join(command)}"
        )
    server.run(one["user"], one["database"], script=_record("load", "load", digest))
    print(f"loaded {one['database']}")


def _record(kind: str, name: str, digest: str) -> str:
    values = ", ".join(literal(value) for value in (kind, name, digest))
    return f"INSERT INTO tierline.applied (kind, name, hash) VALUES ({values});"  # noqa: S608  quoted above


def main(path: str) -> int:
    server = Server(json.loads(Path(path).read_text()))
    try:
        accounts(server)
        for one in server.config["databases"]:
            fill(server, one)
    except ProvisionError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
