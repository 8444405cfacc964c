"""feature.ses: an identity for the sender, and a user that can do nothing but send from it over SMTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierline.plan.model import Ref, Role, Text
from tierline.tiers.base import System
from tierline.tiers.cloudformation import Secret, allow, att, logical, policy, ref, sub

if TYPE_CHECKING:
    from tierline.deploy.template import Template


class SES(System):
    title = "SES"
    levels = frozenset({"deploys"})
    supports = frozenset({"mail"})
    endpoints = {"smtp": "smtp"}
    stand_in = "mailbox"

    def shared(self, roles: Sequence[Role]) -> dict[str, Text]:
        at = roles[0].id
        return {
            "SMTP_URL": Text(
                ("smtp://", Ref(at, "secret.username"), ":", Ref(at, "secret.password"), "@", Ref(at, "smtp.address"))
            ),
            "SMTP_HOST": Text((Ref(at, "smtp.host"),)),
            "SMTP_PORT": Text(("587",)),
            "MAIL_FROM": Text((roles[0].settings["sender"],)),
        }  # fmt: skip

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        (role,) = roles
        id, sender = logical(role.name), role.settings["sender"]
        domain = sender.partition("@")[2]
        template.add("data", f"{id}Identity", "AWS::SES::EmailIdentity", {"EmailIdentity": domain})
        if domain == template.plan.domain and template.names.get("dns"):
            for number in (1, 2, 3):
                template.add(
                    "data",
                    f"{id}Signature{number}",
                    "AWS::Route53::RecordSet",
                    {
                        "HostedZoneId": ref("Zone"),
                        "Name": att(f"{id}Identity", f"DkimDNSTokenName{number}"),
                        "Type": "CNAME",
                        "TTL": "1800",
                        "ResourceRecords": [att(f"{id}Identity", f"DkimDNSTokenValue{number}")],
                    },
                )
        else:
            template.note(f"{role.name}: {domain} isn't the stack's zone; put SES's DKIM records where it is")
        # SMTP knows no roles: a user, whose right is to send from this one address.
        template.add("data", f"{id}User", "AWS::IAM::User", {})
        template.add(
            "data",
            f"{id}Policy",
            "AWS::IAM::Policy",
            {
                "PolicyName": "send",
                "Users": [ref(f"{id}User")],
                "PolicyDocument": policy(
                    allow(
                        ["ses:SendRawEmail"],
                        sub(
                            f"arn:${{AWS::Partition}}:ses:${{AWS::Region}}:${{AWS::AccountId}}:identity/{domain}"
                        ),
                        Condition={"StringEquals": {"ses:FromAddress": sender}},
                    )
                ),
            },
        )
        template.add("data", f"{id}Key", "AWS::IAM::AccessKey", {"UserName": ref(f"{id}User")})
        template.add(
            "data",
            f"{id}Login",
            "AWS::SecretsManager::Secret",
            {
                "Description": f"{template.plan.stack}: the key that {role.name} sends with",
                "SecretString": {
                    "Fn::Sub": f'{{"username":"${{{id}Key}}","key":"${{{id}Key.SecretAccessKey}}"}}'
                },
            },
            keep="Delete",
        )
        host = sub("email-smtp.${AWS::Region}.amazonaws.com")
        template.tell(
            role.id,
            {
                "smtp.host": host,
                "smtp.address": sub("email-smtp.${AWS::Region}.amazonaws.com:587"),
                "secret.username": Secret(ref(f"{id}Login"), "username"),
                "secret.password": Secret(ref(f"{id}Login"), "key", derive="smtp_password"),
            },
        )
        template.note(
            f"{role.name}: SES sends to anybody only after its sandbox is left, which AWS grants on request"
        )
