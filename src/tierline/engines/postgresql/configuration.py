"""The files that a PostgreSQL server reads, whole: nothing is left to what initdb thought of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tierline.plan.model import Unit


def server(unit: Unit, host: str, port: int, hba: Path, included: Sequence[Path]) -> str:
    """postgresql.conf. included: the files of what changes while it runs."""
    settings = {
        "listen_addresses": host,
        "port": str(port),
        # TCP alone: a socket's path may be longer than the 107 bytes that it can have.
        "unix_socket_directories": "",
        "hba_file": str(hba),
        "cluster_name": unit.id,
        "max_connections": "100",
        "shared_buffers": "32MB",
        # In the data folder, where the next start finds and clears what a kill left, not in /dev/shm.
        "dynamic_shared_memory_type": "mmap",
        "password_encryption": "scram-sha-256",
        "fsync": "on",
        "synchronous_commit": "on",
        "max_wal_size": "256MB",
        "wal_level": "replica",
        "max_wal_senders": "16",
        # How far a replica may fall behind and still catch up without being cloned anew. A replication
        # slot would promise more, and fill the disk for a replica that never comes back.
        "wal_keep_size": "256MB",
        # Slots are somebody else's (change data capture): one whose reader is gone must not fill the disk.
        "max_slot_wal_keep_size": "1GB",
        # Neither must one session with a sort or join that doesn't end.
        "temp_file_limit": "4GB",
        # pg_rewind of an old primary needs one of the two that make changed pages known.
        "wal_log_hints": "on",
        "hot_standby": "on",
        "hot_standby_feedback": "on",
        "wal_receiver_status_interval": "1s",
        "wal_retrieve_retry_interval": "200ms",
        # A follower that says nothing for this long is gone: the leader goes on without it, or no write would
        # be acknowledged any more.
        "wal_sender_timeout": "3s",
        "wal_receiver_timeout": "3s",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        "lc_messages": "C",
        "default_text_search_config": "pg_catalog.english",
    }
    lines = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    lines += [f"include = {_quoted(str(path))}" for path in included]
    lines += [raw for role in unit.roles if (raw := role.settings.get("raw"))]
    return "\n".join(lines) + "\n"


def access(replication: str) -> str:
    """pg_hba.conf: everybody with a password, from this machine; replication by its own user alone."""
    return (
        f"host replication {replication} 127.0.0.0/8 scram-sha-256\n"
        "host replication all 0.0.0.0/0 reject\n"
        f"host all {replication} 0.0.0.0/0 reject\n"
        "host all all 127.0.0.0/8 scram-sha-256\n"
        "host all all ::1/128 scram-sha-256\n"
    )


def upstream(host: str, port: int, user: str, passwords: Path, name: str) -> str:
    """The connection string of a replica."""
    fields = {
        "host": host,
        "port": str(port),
        "user": user,
        "passfile": str(passwords),
        "application_name": name,
        "sslmode": "disable",
        "connect_timeout": "2",
    }
    return " ".join(f"{key}={_quoted(value, backslash=True)}" for key, value in fields.items())


def connection(host: str, port: int, user: str, passwords: Path) -> str:
    """A connection string for a tool; the password is in the file, so that no list of processes shows it."""
    fields = {
        "host": host,
        "port": str(port),
        "user": user,
        "dbname": "postgres",
        "passfile": str(passwords),
        "sslmode": "disable",
        "connect_timeout": "2",
    }
    return " ".join(f"{key}={_quoted(value, backslash=True)}" for key, value in fields.items())


def streaming(upstream: str | None) -> str:
    """upstream.conf: whom a follower receives from; empty on the leader."""
    return f"primary_conninfo = {_quoted(upstream)}\n" if upstream else "# leads: receives from nobody\n"


def confirmed(members: Sequence[str]) -> str:
    """synchronous.conf: a commit is acknowledged once one of these has it on disk, too."""
    names = ", ".join(f'"{name}"' for name in members)
    return f"synchronous_standby_names = {_quoted(f'ANY 1 ({names})' if members else '')}\n"


def passwords(users: dict[str, str]) -> str:
    """A pgpass file, which keeps passwords off command lines and out of environments."""
    return "".join(f"*:*:*:{user}:{_field(password)}\n" for user, password in users.items())


def _quoted(value: str, *, backslash: bool = False) -> str:
    if backslash:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _field(value: str) -> str:
    return value.replace("\\", "\\\\").replace(":", "\\:")
