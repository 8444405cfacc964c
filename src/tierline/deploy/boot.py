"""What an instance does when it starts: user data without a secret.

Each service of the instance is the systemd unit `tierline@<name>` of the baked image. Before every start of it
a small script fetches the secrets that it needs and writes its environment to a file that only root can read;
systemd hands it over. So a secret is in no template, no user data and no image, and a rotated one arrives with
a restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tierline.deploy.addresses import resolved
from tierline.deploy.fleet import Fleet, Member
from tierline.deploy.template import Template
from tierline.plan.model import Ref, Role, Text
from tierline.plan.wiring import prefix
from tierline.tiers.cloudformation import Secret, Value, folded

# The SMTP password of an access key, as AWS documents its making.
_SMTP = """\
smtp_password() { python3 -c '
import base64, hmac, sys
key = ("AWS4" + sys.argv[1]).encode()
for part in ("11111111", sys.argv[2], "ses", "aws4_request", "SendRawEmail"):
    key = hmac.new(key, part.encode(), "sha256").digest()
print(base64.b64encode(bytes([4]) + key).decode())' "$(cat)" "$1"; }
"""
DERIVED = {"smtp_password": (_SMTP, 'smtp_password "$AWS_REGION"')}
"""By name: the functions that it needs, and the command that the secret is piped through."""


def user_data(template: Template, fleet: Fleet) -> Value:
    """The user data of a fleet's launch template."""
    text = _HEAD + "".join(_member(template, fleet, member) for member in fleet.members.values())
    return {"Fn::Base64": {"Fn::Sub": text} if "${" in text else text}


def environments(template: Template, fleet: Fleet, role: Role) -> dict[str, list[Value | Secret]]:
    """A role's variables, each as the parts of its value."""
    texts = dict(role.environment)
    for name, upstreams in role.upstreams.items():
        target = upstreams[0]
        text = Text(("http://", Ref(target.role, f"{target.endpoint}.address")))
        texts.setdefault(f"{prefix(name)}_URL", text)
    return {
        variable: [
            resolved(template, fleet, part) if isinstance(part, Ref) else part
            for part in texts[variable].parts
        ]
        for variable in sorted(texts)
    }


def secrets(template: Template, fleet: Fleet) -> list[Value]:
    """ARNs of the secrets that a fleet's services fetch."""
    found: list[Value] = []
    for member in fleet.members.values():
        parts = [
            part
            for role in member.roles
            for value in environments(template, fleet, role).values()
            for part in value
        ]
        for part in [*parts, *member.environment.values()]:
            if isinstance(part, Secret) and part.arn not in found:
                found.append(part.arn)
    return found


def _member(template: Template, fleet: Fleet, member: Member) -> str:
    by_zone = {role.zone: environments(template, fleet, role) for role in member.roles}
    zones = list(by_zone)
    first = by_zone[zones[0]]
    plain: list[str] = []
    dynamic: list[str] = []
    fetch = _Fetch(member.name)
    extra = {"PORT": str(member.port), "HOST": "0.0.0.0", **member.environment}  # noqa: S104
    everything: dict[str, list[Any]] = {**first, **{name: [value] for name, value in extra.items()}}
    for variable, parts in sorted(everything.items()):
        values = [by_zone[zone].get(variable, parts) for zone in zones] if variable not in extra else [parts]
        if any(value != parts for value in values):
            # It depends on the zone, which the instance knows and the launch template doesn't.
            cases = " ".join(
                f"*{_letter(template, zone)}) echo " + _shell(f"{variable}={_quoted(value)}") + " ;;"
                for zone, value in zip(zones, values, strict=True)
            )
            dynamic.append(f"case $zone in {cases} esac\n")
        elif any(isinstance(part, Secret) for part in parts):
            dynamic.append(fetch.line(variable, parts))
        else:
            plain.append(f"{variable}={_quoted(parts)}\n")
    return _MEMBER.replace("NAME", member.name).replace("PLAIN\n", "".join(plain)).replace(
        "FUNCTIONS\n", "".join(fetch.functions)
    ).replace("FETCHED\n", "".join(fetch.lines)).replace("DYNAMIC\n", "".join(dynamic))  # fmt: skip


class _Fetch:
    """Collects the secrets of one service as lines of shell. Each is a statement of its own, since a failure
    inside of another command's arguments would go unnoticed."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.functions: list[str] = []
        self.lines: list[str] = []
        self._known: dict[str, str] = {}

    def line(self, variable: str, parts: list[Value | Secret]) -> str:
        """The command that prints one variable."""
        if isinstance(parts[0], Secret) and parts[0].file:
            path = f"/run/tierline/{self.service}.{variable.lower()}"
            self.lines.append(f'secret "{folded([parts[0].arn])}" "" >{path}\nchown tierline {path}\n')
            return "echo " + _shell(f'{variable}="{path}"') + "\n"
        alone = len(parts) == 1
        pieces = [
            f'"${self._variable(part, alone)}"'
            if isinstance(part, Secret)
            else _shell(_escaped(folded([part])))
            for part in parts
        ]
        return "echo " + _shell(f'{variable}="') + "".join(pieces) + _shell('"') + "\n"

    def _variable(self, secret: Secret, alone: bool) -> str:
        """The shell variable with a secret; inside of a URL it is percent-encoded."""
        command = f'secret "{folded([secret.arn])}" "{secret.key}"'
        if secret.derive:
            function, then = DERIVED[secret.derive]
            command += f" | {then}"
            if function not in self.functions:
                self.functions.append(function)
        command += "" if alone else " | encoded"
        if command not in self._known:
            self._known[command] = f"v{len(self._known) + 1}"
            self.lines.append(f"{self._known[command]}=$({command})\n")
        return self._known[command]


def _letter(template: Template, zone: str) -> str:
    return str(template.availability_zone(zone)["Fn::Sub"])[-1]


def _quoted(parts: Iterable[Value]) -> str:
    """A value as systemd reads it from an environment file. What CloudFormation puts in later may hold double
    quotes (JSON), so single ones stand around it wherever they can."""
    text = folded(parts)
    return f"'{text}'" if "'" not in text and "\n" not in text else f'"{_escaped(text)}"'


def _shell(text: str) -> str:
    """Text as one word of the shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


_HEAD = """\
#!/bin/bash
# Names and ARNs; no secret is in here.
set -euo pipefail
install -d -m 0700 /etc/tierline
"""

_MEMBER = """
cat >/etc/tierline/NAME.env <<'END'
PLAIN
END
cat >/etc/tierline/NAME.start <<'END'
#!/bin/bash
# Before each start: what is secret, or depends on the zone, joins the environment.
set -euo pipefail
umask 077
export AWS_REGION="${AWS::Region}"
install -d -m 0711 /run/tierline
secret() { aws secretsmanager get-secret-value --secret-id "$1" --query SecretString --output text | python3 -c '
import json, sys
text, field = sys.stdin.read().rstrip(), sys.argv[1]
print(json.loads(text)[field] if field else text)' "$2"; }
encoded() { python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], safe=""))' "$(cat)"; }
FUNCTIONS
token=$(curl -sfX PUT http://169.254.169.254/latest/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 60')
zone=$(curl -sf -H "X-aws-ec2-metadata-token: $token" \\
  http://169.254.169.254/latest/meta-data/placement/availability-zone)
FETCHED
{
cat /etc/tierline/NAME.env
DYNAMIC
} >/run/tierline/NAME.env
END
chmod 0700 /etc/tierline/NAME.start
install -d /etc/systemd/system/tierline@NAME.service.d
cat >/etc/systemd/system/tierline@NAME.service.d/environment.conf <<'END'
[Service]
ExecStartPre=+/etc/tierline/NAME.start
EnvironmentFile=-/run/tierline/NAME.env
END
systemctl daemon-reload
systemctl enable --now tierline@NAME
"""
