"""The words that a provider's `deploy` writes CloudFormation with, and what several providers share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tierline.deploy.template import Template

Value = Any
"""A string, a number, or an intrinsic function as a dict."""


class Secret(NamedTuple):
    """A secret that an instance fetches when a service starts; it is in no template and no user data."""

    arn: Value
    key: str = ""
    """The field of the secret's JSON; empty: the secret is the whole text."""
    file: bool = False
    """Written to a file, whose path is the value."""
    derive: str = ""
    """A name of `boot.DERIVED`: what is done with the secret before it is used."""


def logical(*names: str) -> str:
    """A logical id from names: `film-posters`, `queue` → `FilmPostersQueue`."""
    words = [word for name in names for word in re.split(r"[^A-Za-z0-9]+", name) if word]
    return "".join(word[0].upper() + word[1:] for word in words)


def ref(id: str) -> Value:
    return {"Ref": id}


def att(id: str, attribute: str) -> Value:
    return {"Fn::GetAtt": [id, attribute]}


def sub(text: str) -> Value:
    """Fn::Sub, or the text itself when there is nothing to put in."""
    return {"Fn::Sub": text} if "${" in text else text


def literal(text: str) -> str:
    """The text as it must stand in an Fn::Sub to stay as it is."""
    return text.replace("${", "${!")


def folded(parts: Iterable[Value]) -> str:
    """Strings and references as the text of one Fn::Sub."""
    found = []
    for part in parts:
        if isinstance(part, dict) and "Ref" in part:
            found.append(f"${{{part['Ref']}}}")
        elif isinstance(part, dict) and "Fn::GetAtt" in part:
            found.append(f"${{{'.'.join(part['Fn::GetAtt'])}}}")
        elif isinstance(part, dict):
            found.append(part["Fn::Sub"])
        else:
            found.append(literal(str(part)))
    return "".join(found)


def allow(actions: Iterable[str], *resources: Value, **more: Value) -> dict[str, Any]:
    """One statement of a policy."""
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": list(resources), **more}


def trust(service: str) -> dict[str, Any]:
    """The policy that lets a service of AWS take a role."""
    return policy(
        {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
    )


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def nearest_of(wanted: float, allowed: Iterable[int]) -> int:
    """The smallest allowed value that is at least what is wanted, or the largest there is."""
    values = sorted(allowed)
    return next((value for value in values if value >= wanted), values[-1])


def certificate(template: Template, layer: str, id: str, user: str = "") -> Value:
    """A certificate of the stack's domain, proven by the zone; where there is none, whoever deploys gives one to
    the layer that uses it."""
    domain = template.plan.domain
    if "dns" not in template.names:
        return template.parameter(user or layer, id, f"ARN of a certificate of {domain} and *.{domain}.")
    template.add(
        layer,
        id,
        "AWS::CertificateManager::Certificate",
        {
            "DomainName": domain,
            "SubjectAlternativeNames": [f"*.{domain}"],
            "ValidationMethod": "DNS",
            "DomainValidationOptions": [{"DomainName": domain, "HostedZoneId": ref("Zone")}],
        },
    )
    return ref(id)


def front_key(template: Template) -> Value:
    """What the tier in front shows the load balancer: without it anybody's distribution could reach it."""
    id = template.add(
        "data",
        "FrontKey",
        "AWS::SecretsManager::Secret",
        {
            "Description": f"{template.plan.stack}: what the CDN shows the load balancer",
            "GenerateSecretString": {
                "SecretStringTemplate": "{}",
                "GenerateStringKey": "key",
                "PasswordLength": 40,
                "ExcludePunctuation": True,
            },
        },
        keep="Delete",
        once=True,
    )
    return {"Fn::Sub": f"{{{{resolve:secretsmanager:${{{id}}}:SecretString:key}}}}"}
