"""Lineups: which system plays each slot. A row of the table of systems.

A slot is a tier of the request path (`lb`) or a kind of service or resource of a tier (`domain.relational`).
A system's name is its address: `lb=haproxy` is `tiers/lb/haproxy.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tierline.errors import PlanError, choices, nearest

EMBEDDED: Mapping[str, str] = {
    "dns": "embedded",
    "cdn": "nginx",
    "lb": "haproxy",
    "cache": "nginx",
    "gateway": "envoy",
    "experience": "journeys",
    "feature.service": "process",
    "feature.function": "worker",
    "feature.queue": "nats",
    "feature.topic": "nats",
    "feature.stream": "nats",
    "feature.bucket": "seaweedfs",
    "feature.mail": "mailbox",
    "feature.identity": "identity",
    "feature.limits": "counter",
    "core.cache": "valkey",
    "core.sessions": "valkey",
    "domain.relational": "postgresql",
    "domain.table": "postgresql",
    "analytics": "telemetry",
}

AWS: Mapping[str, str] = {
    "dns": "route53",
    "cdn": "cloudfront",
    "lb": "alb",
    "cache": "nginx_ec2",
    "gateway": "envoy_ec2",
    "experience": "autoscaling",
    "feature.service": "autoscaling",
    "feature.function": "lambda_function",
    "feature.queue": "sqs",
    "feature.topic": "sns",
    "feature.stream": "kinesis",
    "feature.bucket": "s3",
    "feature.mail": "ses",
    "core.cache": "elasticache",
    "core.sessions": "elasticache",
    "domain.relational": "aurora",
    "domain.table": "dynamodb",
    "analytics": "cloudwatch",
}

POPULAR: Mapping[str, str] = {
    **EMBEDDED,
    "lb": "nginx",
    "cache": "varnish",
    "gateway": "haproxy",
}
"""What many teams run."""

ALTERNATE: Mapping[str, str] = {
    **EMBEDDED,
    "dns": "powerdns",
    "lb": "traefik",
    "cache": "trafficserver",
    "gateway": "envoy",
}
"""Other engines for the same tiers."""

FAST: Mapping[str, str] = {**EMBEDDED, "lb": "envoy"}
"""Load balancer and gateway in one Envoy per zone, around nginx's cache."""

LINEUPS: Mapping[str, Mapping[str, str]] = {
    "embedded": EMBEDDED,
    "fast": FAST,
    "popular": POPULAR,
    "alternate": ALTERNATE,
    "aws": AWS,
}

# Systems of the table that have no provider yet: they keep their row in `tierline systems` until they do.
PLANNED: Mapping[str, tuple[str, ...]] = {
    "dns": ("google_cloud_dns", "dnsmadeeasy", "dyn", "dnsimple", "ns1"),
    "cdn": ("cloudflare", "maxcdn", "akamai", "imperva", "fastly", "keycdn", "azure", "cdnify"),
    "lb": ("nlb", "digitalocean", "glbc", "fly", "f5", "google_cloud", "seesaw"),
    "cache": ("varnish_ec2", "section", "nuster"),
    "gateway": ("apigateway", "kong", "apigee", "mulesoft", "zuul"),
    "feature.function": ("lambda_function",),
    "feature.identity": ("cognito",),
    "feature.bus": ("eventbridge",),
    "feature.workflow": ("dbos", "stepfunctions"),
    "feature.volume": ("folder", "ebs", "efs"),
    "core.cache": ("redis", "memcached"),
    "core.containers": ("process", "ecs", "eks", "fargate"),
    "domain.relational": ("rds", "mariadb"),
    "domain.warehouse": ("duckdb", "redshift"),
    "domain.etl": ("pipeline", "emr", "glue"),
    "analytics": (
        "newrelic", "sumologic", "grafana", "kibana", "audit", "cloudtrail", "dashboards", "quicksight",
        "tableau", "collector", "google_analytics",
    ),
}  # fmt: skip


def choose(lineup: str, uses: Iterable[str] = ()) -> dict[str, str]:
    """The lineup by slot, with each `slot=system` of `uses` put in its place.

    Raises PlanError for an unknown lineup, slot, or a `uses` that isn't `slot=system`; an unknown system is
    told when the plan looks for it.
    """
    if lineup not in LINEUPS:
        raise PlanError(f"unknown lineup {lineup!r}{nearest(lineup, LINEUPS)} there are: {choices(LINEUPS)}")
    chosen = dict(LINEUPS[lineup])
    for use in uses:
        slot, equals, system = use.partition("=")
        if not equals or not system:
            raise PlanError(f"--use {use!r}: write SLOT=SYSTEM, e.g. --use lb=haproxy")
        if slot not in chosen:
            raise PlanError(
                f"--use {use!r}: unknown tier {slot!r}{nearest(slot, chosen)} there are: {choices(chosen)}"
            )
        chosen[slot] = system
    return chosen
