"""Stacks created through the AWS API on a local AWS server, each resource read back through its own service."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from local_aws import Account
from reading import READERS

from tierline.deploy.stacks import Stack
from tierline.deploy.synth import Synthesis
from waiting import eventually

GIVEN = {
    "FrontPrefixList": "pl-0a1b2c3d",
    "Image": "ami-0123456789abcdef0",
    "Jwks": '{"keys":[]}',
    "Certificate": "arn:aws:acm:eu-west-1:000000000000:certificate/1",
    "FrontCertificate": "arn:aws:acm:us-east-1:000000000000:certificate/2",
}


class Line:
    """A stack file's stacks, created in their order: what each put out, and what each resource is called."""

    def __init__(self, account: Account, synthesis: Synthesis) -> None:
        self.account = account.at(synthesis.stacks[-1].region)
        self.synthesis = synthesis
        self.outputs: dict[str, dict[str, str]] = {}
        self.ids: dict[str, str] = {}
        self.resources: dict[str, dict[str, Any]] = {}
        for stack in synthesis.stacks:
            self._create(stack)

    def read(self, id: str) -> Any:
        """A resource, by its logical id, as its own service describes it."""
        resource = self.resources[id]
        return READERS[resource["Type"]](self.account, self.ids[id], resource)

    def _create(self, stack: Stack) -> None:
        client = self.account.client("cloudformation", stack.region)
        values = {name: self.outputs[source][output] for name, (source, output) in stack.parameters.items()}
        values |= {name: GIVEN[name] for name in stack.asks}
        client.create_stack(
            StackName=stack.name,
            TemplateURL=self._upload(stack),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
            Capabilities=list(stack.capabilities),
        )

        def made() -> Any:
            (told,) = client.describe_stacks(StackName=stack.name)["Stacks"]
            return not told["StackStatus"].endswith("IN_PROGRESS") and told

        told = eventually(made)
        events = client.describe_stack_events(StackName=stack.name)["StackEvents"]
        failed = [
            f"{e['LogicalResourceId']}: {e.get('ResourceStatusReason')}"
            for e in events
            if "FAILED" in e["ResourceStatus"]
        ]
        assert told["StackStatus"] == "CREATE_COMPLETE", (stack.name, failed)
        self.outputs[stack.name] = {
            each["OutputKey"]: each["OutputValue"] for each in told.get("Outputs", [])
        }
        self.resources.update(stack.template["Resources"])
        listed = client.get_paginator("list_stack_resources").paginate(StackName=stack.name)
        for page in listed:
            for each in page["StackResourceSummaries"]:
                self.ids[each["LogicalResourceId"]] = each["PhysicalResourceId"]

    def _upload(self, stack: Stack) -> str:
        """As with AWS: a large template goes by way of a bucket."""
        s3 = self.account.client("s3")
        if not any(bucket["Name"] == "templates" for bucket in s3.list_buckets()["Buckets"]):
            s3.create_bucket(
                Bucket="templates", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
            )
        s3.put_object(Bucket="templates", Key=stack.name, Body=stack.text().encode())
        return f"{s3.meta.endpoint_url}/templates/{stack.name}"


@pytest.fixture(scope="module")
def cinema(account: Account, synthesized: Callable[[str], Synthesis]) -> Line:
    return Line(account, synthesized("cinema"))


@pytest.fixture(scope="module")
def shop(account: Account, synthesized: Callable[[str], Synthesis]) -> Line:
    return Line(account, synthesized("shop"))


@pytest.mark.parametrize("name", ["cinema", "shop", "plain", "nameless"])
def test_each_resource_is_there_when_its_own_service_is_asked(
    name: str, account: Account, synthesized: Callable[[str], Synthesis], request: pytest.FixtureRequest
) -> None:
    known = name in ("cinema", "shop")
    line: Line = request.getfixturevalue(name) if known else Line(account, synthesized(name))
    missing = {}
    for id in line.resources:
        try:
            assert line.read(id)
        except Exception as error:
            missing[id] = f"{line.resources[id]['Type']}: {error!r}"
    assert not missing, "\n".join(f"{id}: {what}" for id, what in missing.items())
    assert set(line.ids) == set(line.resources)


def test_databases_have_a_writer_and_their_readers(cinema: Line) -> None:
    assert len(cinema.read("FilmsDatabase")["DBClusterMembers"]) == 2
    assert cinema.read("FilmsPrimary")["AvailabilityZone"] == "eu-west-1a"
    assert cinema.read("FilmsReplica1")["AvailabilityZone"] == "eu-west-1b"
    assert cinema.read("FilmsDatabase")["StorageEncrypted"]


def test_a_message_that_is_never_handled_ends_among_the_dead_letters(cinema: Line) -> None:
    redrive = json.loads(cinema.read("OrdersQueue")["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"] == cinema.read("OrdersDeadLetters")["QueueArn"]
    assert int(redrive["maxReceiveCount"]) == 5


def test_buckets_are_nobodys_but_the_stacks(cinema: Line) -> None:
    for bucket in ("PostersBucket", "AssetsBucket"):
        assert all(cinema.read(bucket).values())


def test_the_domain_leads_to_the_distribution_and_that_to_the_balancer(cinema: Line) -> None:
    distribution = cinema.read("Distribution")
    assert cinema.read("EntryA")["AliasTarget"]["DNSName"].rstrip(".") == distribution["DomainName"]
    config = distribution["DistributionConfig"]
    origins = {each["Id"]: each["DomainName"] for each in config["Origins"]["Items"]}
    assert origins["line"] == "origin.cinema.test"
    balancer = cinema.read("Balancer")["DNSName"]
    assert cinema.read("OriginRecord")["AliasTarget"]["DNSName"].rstrip(".") == balancer
    patterns = [each["PathPattern"] for each in config["CacheBehaviors"]["Items"]]
    assert "/" in patterns


def test_the_balancer_sends_on_only_what_shows_the_key(cinema: Line) -> None:
    listener = cinema.read("SecureListener")
    assert listener["DefaultActions"][0]["FixedResponseConfig"]["StatusCode"] == "403"
    rule = cinema.read("SecureListenerRule1")
    header = next(each for each in rule["Conditions"] if each["Field"] == "http-header")
    secret = cinema.account.client("secretsmanager").get_secret_value(SecretId=cinema.ids["FrontKey"])
    assert header["HttpHeaderConfig"]["Values"] == [json.loads(secret["SecretString"])["key"]]
    assert rule["Actions"][0]["TargetGroupArn"] == cinema.ids["CachePublicTargets"]


def test_instances_are_spread_over_the_zones_and_scale(cinema: Line) -> None:
    group = cinema.read("CatalogGroup")
    assert (group["MinSize"], group["MaxSize"]) == (2, 8)
    subnets = {cinema.ids["PrivateSubnetA"], cinema.ids["PrivateSubnetB"]}
    assert set(group["VPCZoneIdentifier"].split(",")) == subnets
    policy = cinema.read("CatalogScaling")["TargetTrackingConfiguration"]
    assert policy["TargetValue"] == 200 * 60


def test_user_data_names_what_was_created_and_no_secret(cinema: Line) -> None:
    launch = cinema.read("OrdersLaunch")
    assert launch["MetadataOptions"]["HttpTokens"] == "required"
    text = base64.b64decode(launch["UserData"]).decode()
    assert f"ORDERS_QUEUE_URL='{cinema.ids['OrdersQueue']}'" in text
    assert cinema.read("AccountsDatabase")["Endpoint"] in text
    secrets = cinema.account.client("secretsmanager")
    for id, resource in cinema.resources.items():
        if resource["Type"] == "AWS::SecretsManager::Secret" and id != "SigningKey":
            value = json.loads(secrets.get_secret_value(SecretId=cinema.ids[id])["SecretString"])
            assert not any(each in text for key, each in value.items() if key != "username")


def test_security_groups_allow_the_edges_of_the_plan_and_no_others(shop: Line) -> None:
    groups = [id for id, each in shop.resources.items() if each["Type"] == "AWS::EC2::SecurityGroup"]
    names = {shop.ids[id]: id.removesuffix("Access") for id in groups}
    allowed: dict[str, set[str]] = {}
    ports: dict[str, set[int]] = {}
    for id, name in names.items():
        for rule in shop.read(f"{name}Access")["IpPermissions"]:
            allowed.setdefault(name, set()).update(
                names[pair["GroupId"]] for pair in rule["UserIdGroupPairs"]
            )
            ports.setdefault(name, set()).add(rule["FromPort"])
            assert rule["FromPort"] == rule["ToPort"] and not rule["IpRanges"], id
    assert allowed == {
        "Lb": set(),
        "Edge": {"Lb"},
        "InnerBalancer": {"Edge", "Basket"},
        "Stock": {"InnerBalancer"},
        "Basket": {"InnerBalancer"},
        "BackOffice": {"InnerBalancer"},
        "GoodsStore": {"Stock"},
        "HotStore": {"Stock"},
        "SessionStore": {"Basket"},
    }
    assert (ports["GoodsStore"], ports["HotStore"], ports["Lb"]) == ({5432}, {6379}, {443})


def test_a_service_may_do_what_it_uses_and_nothing_else(shop: Line) -> None:
    policies = shop.resources["BackOfficeRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    actions = {action.partition(":")[0] for statement in policies for action in statement["Action"]}
    assert actions == {"sns", "kinesis", "s3", "logs", "xray", "cloudwatch", "secretsmanager"}
    basket = shop.resources["BasketRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    assert {action.partition(":")[0] for each in basket for action in each["Action"]} >= {"dynamodb", "sqs"}
    assert not any(action.endswith("*") for each in basket + policies for action in each["Action"])


def test_a_stack_that_is_deleted_leaves_the_data(
    account: Account, synthesized: Callable[[str], Synthesis]
) -> None:
    kept = {
        id: resource["DeletionPolicy"]
        for stack in synthesized("shop").stacks
        for id, resource in stack.template["Resources"].items()
        if "DeletionPolicy" in resource
    }
    assert {id for id, policy in kept.items() if policy in ("Retain", "Snapshot")} >= {
        "GoodsDatabase",
        "BasketsTable",
        "SessionStore",
        "SalesQueue",
        "ClicksStream",
        "InvoicesBucket",
        "AssetsBucket",
        "Zone",
    }
