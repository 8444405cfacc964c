"""gateway.envoy_ec2: the same gateway as locally, on the edge's EC2 instances.

Its configuration is what `gateway.envoy` contributes, baked into the image; so each policy that the local line
has is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierline.plan.model import Role
from tierline.tiers.cloudformation import Secret, ref
from tierline.tiers.gateway.envoy import EnvoyGateway

if TYPE_CHECKING:
    from tierline.deploy.template import Template


class EnvoyOnEC2(EnvoyGateway):
    title = "Envoy on EC2"
    levels = frozenset({"deploys"})
    supports = EnvoyGateway.supports - {"mtls", "mtls_san", "shared_limits"}
    lacks = {
        "shared_limits": "no counter is deployed yet: each instance counts by itself",
        **{
            name: "the balancer in front ends TLS, and the listener for certificates has none of its own yet"
            for name in ("mtls", "mtls_san")
        },
    }
    stand_in = "envoy"

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        auth, environment = roles[0].settings["auth"], {}
        if auth and auth["jwks"] is None:
            environment["JWKS"] = template.parameter(
                "apps", "Jwks", f"Public keys that check tokens of {auth['issuer']} (RFC 7517, JSON)."
            )
            id = template.add(
                "data",
                "SigningKey",
                "AWS::SecretsManager::Secret",
                {"Description": f"{template.plan.stack}: the private key (PEM) that signs tokens"},
                keep="Retain",
            )
            template.tell(
                roles[0].name, {"signing_key": Secret(ref(id), file=True), "key_id": template.plan.stack}
            )
            template.note(
                "the gateway's tokens need a key of yours: put the private one (PEM) into the secret SigningKey of the "
                f"data stack, give its public part, with the kid {template.plan.stack}, to the apps stack as Jwks"
            )
        template.fleet("Edge").run(roles, scale={"min": 1, "max": 4, "cpu": 0.6}, environment=environment)
