"""dns.route53: the hosted zone, its records, and the names that clients resolve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tierline.plan.model import Role
from tierline.tiers.base import System
from tierline.tiers.cloudformation import att, logical, ref

if TYPE_CHECKING:
    from tierline.deploy.template import Template

_ONE_ENTRY = "all places are behind one name, and CloudFront sends each client to the nearest"


class Route53(System):
    title = "Route 53"
    levels = frozenset({"deploys"})
    supports = frozenset({"simple", "multivalue", "latency", "health_checks", "ecs"})
    lacks = {"weighted": _ONE_ENTRY, "geography": _ONE_ENTRY, "failover": _ONE_ENTRY,
        "transfers": "Route 53 transfers no zones", "raw": "Route 53 takes no raw configuration"}  # fmt: skip
    endpoints = {"dns": "dns"}
    stand_in = "embedded"

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        (role,) = roles
        domain = template.plan.domain
        template.add("names", "Zone", "AWS::Route53::HostedZone", {"Name": domain}, keep="Retain")
        template.output(
            "names",
            "NameServers",
            {"Fn::Join": [" ", att("Zone", "NameServers")]},
            f"Where the registrar of {domain} has to point.",
        )
        template.note(
            f"{domain}: its certificates are issued once the registrar points at the zone's name servers (output NameServers "
            "of the names stack); until then that stack waits"
        )
        if role.settings["registration"] is not None:
            template.note(
                f"{domain} is not registered by this: CloudFormation can't, and it costs money; tierline domain shows how"
            )
        for number, record in enumerate(role.settings["records"], 1):
            _record(template, number, record)
        if (
            template.plan.entry
            and role.upstreams
            and template.names[template.plan.roles[template.plan.entry[0]].name]
        ):
            _entry(template, role)


def _entry(template: Template, role: Role) -> None:
    entry = template.plan.entry[0]
    if template.plan.roles[entry].tier not in ("cdn", "lb"):
        template.note("nothing is public: the line begins with neither a CDN nor a load balancer")
        return
    regional = template.plan.roles[entry].tier == "lb"
    # A distribution answers by both protocols, this load balancer by IPv4.
    for kind in ("A",) if regional else ("A", "AAAA"):
        template.add(
            "edge",
            f"Entry{kind}",
            "AWS::Route53::RecordSet",
            {
                "HostedZoneId": ref("Zone"),
                "Name": template.plan.domain,
                "Type": kind,
                "AliasTarget": {
                    "DNSName": template.told(entry, "alias.name"),
                    "HostedZoneId": template.told(entry, "alias.zone"),
                    # CloudFront's health is not Route 53's to judge.
                    "EvaluateTargetHealth": regional,
                },
            },
        )
    settings = role.settings
    if settings["health"]:
        template.add(
            "edge",
            "EntryHealth",
            "AWS::Route53::HealthCheck",
            {
                "HealthCheckConfig": {
                    "Type": "HTTPS",
                    "FullyQualifiedDomainName": template.plan.domain,
                    "Port": 443,
                    "ResourcePath": settings["health"],
                    "RequestInterval": 10 if settings["health_interval"] < 30 else 30,
                    "FailureThreshold": settings["health_threshold"],
                    "EnableSNI": True,
                }
            },
        )
        if settings["health_interval"] < 10:
            template.note("dns: health checks every 10 s, the least that Route 53 has")


def _record(template: Template, number: int, record: dict[str, Any]) -> None:
    if record["type"] == "ALIAS":
        template.note(f"dns: Route 53 has aliases to AWS resources only; {record['name']} is left out")
        return
    domain, name = template.plan.domain, record["name"]
    values = record["values"]
    if record["type"] == "TXT":
        values = [value if value.startswith('"') else f'"{value}"' for value in values]
    template.add(
        "names",
        logical("record", str(number)),
        "AWS::Route53::RecordSet",
        {
            "HostedZoneId": ref("Zone"),
            "Name": domain if name == "@" else f"{name}.{domain}",
            "Type": record["type"],
            "TTL": str(int(record["ttl"])),
            "ResourceRecords": values,
        },
    )
