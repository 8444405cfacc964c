"""cdn.cloudfront: one distribution over the load balancer and a private bucket of assets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tierline.errors import PlanError
from tierline.plan.model import Budget, Role
from tierline.tiers.base import System
from tierline.tiers.cdn.common.edge_functions import INDEX, UNSAID, function, runs
from tierline.tiers.cdn.common.routes import behaviours
from tierline.tiers.cloudformation import allow, att, certificate, front_key, logical, policy, ref, sub
from tierline.tiers.feature.s3 import private_bucket

if TYPE_CHECKING:
    from tierline.deploy.template import Template

# AWS's own policies, the same in every account.
_ALL_OF_THE_VIEWER = "216adef6-5c7f-47e4-b989-5492eafa07d3"
_OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
_ZONE = "Z2FDTNDATAQYW2"

_PATIENCE = 60
"""Seconds of the longest OriginReadTimeout without a request to AWS (CloudFront's quotas)."""
_FIELDS = 20 << 10
"""Bytes of fields (CloudFront's quotas)."""


class CloudFront(System):
    title = "CloudFront"
    levels = frozenset({"deploys"})
    supports = frozenset(
        {"pull", "assets", "tls", "http2", "http3", "collapsing", "ranges", "countries", "buckets", "streams"}
    )
    lacks = {
        "uploads": "AWS doesn't say that a body is passed on as it comes",
        "disconnects": "AWS doesn't say when the origin learns that its client has left",
        "early_hints": "AWS doesn't say that it passes 103 on",
        "trailers": "AWS doesn't say that it passes trailers on",
        "request_trailers": "AWS doesn't say that it passes trailers on",
        "raw": "CloudFront takes no raw configuration: raw= is left out",
        "targeted": "CloudFront goes by Cache-Control and Expires, and passes CDN-Cache-Control on; use CDNRule(ttl=)",
    }
    endpoints = {"http": "http", "https": "https"}
    stand_in = "nginx"

    def unheld(self, role: Role, budget: Budget) -> Mapping[str, str]:
        found = {}
        if budget.first_byte > _PATIENCE:
            found["timeout"] = f"CloudFront waits {_PATIENCE} s for an answer to begin, then says 504 itself"
        if budget.idle > _PATIENCE:
            found["idle_timeout"] = f"CloudFront ends an answer after {_PATIENCE} s of silence"
        if max(budget.request_fields, budget.answer_fields) > _FIELDS:
            found["max_headers"] = (
                f"CloudFront takes {_FIELDS >> 10} KiB of fields, of a request and of an answer"
            )
        return found

    def deploy(self, roles: Sequence[Role], template: Template) -> None:
        if roles[0].part == "origin":
            _assets(roles[0], template)
        else:
            _distribution(roles, template)


def _assets(role: Role, template: Template) -> None:
    buckets = {logical(name, "bucket"): logical(name, "read") for name in role.upstreams}
    folder = role.settings["assets"]
    if folder is not None:
        template.add("data", "AssetsBucket", "AWS::S3::Bucket", private_bucket(), keep="Retain")
        template.output("data", "AssetsBucketName", ref("AssetsBucket"), f"Where the files of {folder} go.")
        template.note(
            f"assets: upload them with aws s3 sync {folder} s3://BUCKET (output AssetsBucketName of the data stack)"
        )
        buckets["AssetsBucket"] = "AssetsPolicy"
    template.add(
        "edge",
        "AssetsAccess",
        "AWS::CloudFront::OriginAccessControl",
        {
            "OriginAccessControlConfig": {
                "Name": f"{template.plan.stack}-assets",
                "OriginAccessControlOriginType": "s3",
                "SigningBehavior": "always",
                "SigningProtocol": "sigv4",
            }
        },
    )
    distribution = sub("arn:${AWS::Partition}:cloudfront::${AWS::AccountId}:distribution/${Distribution}")
    for bucket, name in buckets.items():
        template.add(
            "edge",
            name,
            "AWS::S3::BucketPolicy",
            {
                "Bucket": ref(bucket),
                "PolicyDocument": policy(
                    allow(
                        ["s3:GetObject"],
                        sub(f"${{{bucket}.Arn}}/*"),
                        Principal={"Service": "cloudfront.amazonaws.com"},
                        Condition={"StringEquals": {"AWS:SourceArn": distribution}},
                    )
                ),
            },
        )
    template.add(
        "edge",
        "AssetsHeaders",
        "AWS::CloudFront::ResponseHeadersPolicy",
        {
            "ResponseHeadersPolicyConfig": {
                "Name": f"{template.plan.stack}-assets",
                "CustomHeadersConfig": {
                    "Items": [
                        {
                            "Header": "Cache-Control",
                            "Value": f"public, max-age={int(role.settings['assets_ttl'])}",
                            "Override": True,
                        }
                    ]
                },
                "SecurityHeadersConfig": {"ContentTypeOptions": {"Override": True}},
            }
        },
    )
    if folder is None:
        return
    template.add(
        "edge",
        "IndexFunction",
        "AWS::CloudFront::Function",
        function(template.plan.stack, "index", "A folder is its index.html", INDEX),
    )


def _distribution(roles: Sequence[Role], template: Template) -> None:
    role, plan = roles[0], template.plan
    next_tier = next(name for name in role.upstreams if name != "assets")
    if template.names[next_tier][0].tier != "lb":
        raise PlanError(
            "cdn.cloudfront reaches instances through a load balancer only: add lb=LoadBalancer()"
        )
    origins: list[dict[str, Any]] = [
        {
            "Id": "line",
            "DomainName": f"origin.{plan.domain}" if "dns" in template.names else att("Balancer", "DNSName"),
            "CustomOriginConfig": {
                "OriginProtocolPolicy": "https-only",
                "OriginSSLProtocols": ["TLSv1.2"],
                "OriginKeepaliveTimeout": 60,
                "OriginReadTimeout": _PATIENCE,
            },
            "OriginCustomHeaders": [{"HeaderName": "X-Front-Key", "HeaderValue": front_key(template)}],
        }
    ]
    stores = {name: logical(name, "bucket") for name in dict.fromkeys(role.settings["buckets"].values())}
    if role.settings["assets"] is not None:
        stores = {"assets": "AssetsBucket", **stores}
    for name, bucket in stores.items():
        origins.append(
            {
                "Id": name,
                "DomainName": att(bucket, "RegionalDomainName"),
                "OriginAccessControlId": att("AssetsAccess", "Id"),
                "S3OriginConfig": {"OriginAccessIdentity": ""},
            }
        )
    _cache_policy(template)
    about = "What a copy says of who asked for it is not for the next one"
    template.add(
        "edge", "UnsaidFunction", "AWS::CloudFront::Function", function(plan.stack, "unsaid", about, UNSAID)
    )
    template.add(
        "edge",
        "Distribution",
        "AWS::CloudFront::Distribution",
        {
            "DistributionConfig": {
                "Enabled": True,
                "Comment": plan.stack,
                "Aliases": [plan.domain],
                "HttpVersion": "http2and3",
                "IPV6Enabled": True,
                "PriceClass": _price_class(plan.places),
                "ViewerCertificate": {
                    "AcmCertificateArn": certificate(template, "names", "FrontCertificate", user="edge"),
                    "MinimumProtocolVersion": "TLSv1.2_2021",
                    "SslSupportMethod": "sni-only",
                },
                "Origins": origins,
                "DefaultCacheBehavior": {
                    "TargetOriginId": "line",
                    "ViewerProtocolPolicy": "redirect-to-https",
                    "AllowedMethods": ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"],
                    "CachedMethods": ["GET", "HEAD"],
                    "Compress": True,
                    "CachePolicyId": ref("LinePolicy"),
                    "OriginRequestPolicyId": _ALL_OF_THE_VIEWER,
                    "FunctionAssociations": [runs("viewer-response", "UnsaidFunction")],
                },
                "CacheBehaviors": _of_assets(role, template) or None,
                **_restrictions(role.settings["countries"]),
            }
        },
    )
    if "dns" in template.names:
        template.add(
            "apps",
            "OriginRecord",
            "AWS::Route53::RecordSet",
            {
                "HostedZoneId": ref("Zone"),
                "Name": f"origin.{plan.domain}",
                "Type": "A",
                "AliasTarget": {
                    "DNSName": att("Balancer", "DNSName"),
                    "HostedZoneId": att("Balancer", "CanonicalHostedZoneID"),
                    "EvaluateTargetHealth": False,
                },
            },
        )
    for each in roles:
        template.tell(each.id, {"alias.name": att("Distribution", "DomainName"), "alias.zone": _ZONE})
    template.output(
        "edge", "DistributionName", att("Distribution", "DomainName"), "The distribution's own name."
    )


def _restrictions(countries: dict[str, Any] | None) -> dict[str, Any]:
    if countries is None:
        return {}
    kind, listed = (
        ("whitelist", countries["allow"]) if countries["allow"] else ("blacklist", countries["deny"])
    )
    return {"Restrictions": {"GeoRestriction": {"RestrictionType": kind, "Locations": list(listed)}}}


def _cache_policy(template: Template) -> None:
    """Copies live as long as the origin says and no longer; what a client shows is part of the key."""
    template.add(
        "edge",
        "LinePolicy",
        "AWS::CloudFront::CachePolicy",
        {
            "CachePolicyConfig": {
                "Name": f"{template.plan.stack}-line",
                "MinTTL": 0,
                "DefaultTTL": 0,
                "MaxTTL": 31536000,
                "ParametersInCacheKeyAndForwardedToOrigin": {
                    "EnableAcceptEncodingGzip": True,
                    "EnableAcceptEncodingBrotli": True,
                    "HeadersConfig": {
                        "HeaderBehavior": "whitelist",
                        "Headers": ["Authorization", "Host", "X-Client"],
                    },
                    "CookiesConfig": {"CookieBehavior": "none"},
                    "QueryStringsConfig": {"QueryStringBehavior": "all"},
                },
            }
        },
    )


def _of_assets(role: Role, template: Template) -> list[dict[str, Any]]:
    if "assets" not in role.upstreams:
        return []
    found = []
    for match in behaviours(role.settings, template.project):
        path = match.removeprefix("= ")
        bucket = role.settings["buckets"].get(path)
        index = runs("viewer-request", "IndexFunction")
        found.append(
            {
                "PathPattern": path if path != match else f"{path}*",
                "TargetOriginId": bucket or "assets",
                "ViewerProtocolPolicy": "redirect-to-https",
                "Compress": True,
                "CachePolicyId": _OPTIMIZED,
                "ResponseHeadersPolicyId": ref("AssetsHeaders"),
                **({} if bucket else {"FunctionAssociations": [index]}),
            }
        )
    return found


def _price_class(places: Sequence[str]) -> str:
    """The cheapest class whose edge locations are near all places."""
    by_class = {
        "PriceClass_100": ("us", "ca", "mx", "eu", "il"),
        "PriceClass_200": ("ap-s", "ap-n", "ap-e", "me", "af"),
    }
    far = ("ap-southeast-2", "ap-southeast-4", "ap-southeast-6", "sa")
    if any(place.startswith(far) for place in places):
        return "PriceClass_All"
    near = by_class["PriceClass_100"]
    return "PriceClass_100" if all(place.startswith(near) for place in places) else "PriceClass_200"
