"""What stacks of other shapes become, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tierline.deploy.synth import Synthesis
from tierline.errors import PlanError

Make = Callable[[str], Synthesis]

HELLO = 'hello = Service("hello", "hello:app", expose=["/hello"])\n'


def resources(synthesis: Synthesis, type: str) -> dict[str, Any]:
    return {
        id: resource["Properties"]
        for stack in synthesis.stacks
        for id, resource in stack.template["Resources"].items()
        if resource["Type"] == type
    }


def test_a_line_of_services_alone_is_not_public(synthesize_text: Make) -> None:
    made = synthesize_text(HELLO + 'stack = Stack("s", services=[hello], dns=DNS("s.test"))')
    assert not resources(made, "AWS::ElasticLoadBalancingV2::LoadBalancer")
    assert any("nothing is public" in note for note in made.notes)


def test_a_balancer_in_front_of_services_routes_by_path_longest_first(synthesized: Make) -> None:
    rules = resources(synthesized("plain"), "AWS::ElasticLoadBalancingV2::ListenerRule")
    routed = [
        (
            rule["Priority"],
            rule["Conditions"][0]["PathPatternConfig"]["Values"][0],
            rule["Actions"][0]["TargetGroupArn"],
        )
        for rule in rules.values()
    ]
    assert [(path, target["Ref"]) for _, path, target in sorted(routed, key=lambda each: each[0])] == [
        ("/notes/new", "WritePublicTargets"),
        ("/notes/new/*", "WritePublicTargets"),
        ("/notes", "ReadPublicTargets"),
        ("/notes/*", "ReadPublicTargets"),
        ("/*", "ReadPublicTargets"),
    ]


def test_hosts_that_are_not_known_are_refused(synthesize_text: Make) -> None:
    made = synthesize_text(
        HELLO + 'stack = Stack("s", services=[hello], lb=LoadBalancer(hosts=["s.test"]), gateway=Gateway())'
    )
    listener = resources(made, "AWS::ElasticLoadBalancingV2::Listener")["SecureListener"]
    assert listener["DefaultActions"][0]["FixedResponseConfig"]["StatusCode"] == "421"
    rule = resources(made, "AWS::ElasticLoadBalancingV2::ListenerRule")["SecureListenerRule1"]
    assert rule["Conditions"] == [{"Field": "host-header", "HostHeaderConfig": {"Values": ["s.test"]}}]


def test_sticky_clients_are_tied_by_a_cookie_across_zones(synthesize_text: Make) -> None:
    made = synthesize_text(HELLO + 'stack = Stack("s", services=[hello], lb=LoadBalancer(sticky="at"))')
    group = resources(made, "AWS::ElasticLoadBalancingV2::TargetGroup")["HelloPublicTargets"]
    attributes = {each["Key"]: each["Value"] for each in group["TargetGroupAttributes"]}
    assert attributes["stickiness.enabled"] == attributes["load_balancing.cross_zone.enabled"] == "true"


def test_a_scale_without_room_has_no_policy_and_can_still_be_updated(synthesize_text: Make) -> None:
    made = synthesize_text(
        'one = Service("one", "m:a", scale=Scale(1, 1))\nstack = Stack("s", services=[one], dns=DNS("s.test"))'
    )
    assert not resources(made, "AWS::AutoScaling::ScalingPolicy")
    (apps,) = [stack for stack in made.stacks if stack.layer == "apps"]
    rolling = apps.template["Resources"]["OneGroup"]["UpdatePolicy"]["AutoScalingRollingUpdate"]
    assert rolling["MinInstancesInService"] == 1


def test_requests_that_cannot_be_counted_are_told(synthesize_text: Make) -> None:
    made = synthesize_text(
        'one = Service("one", "m:a", expose=["/"], scale=Scale(1, 3, rps=9))\n'
        'stack = Stack("s", services=[one], lb=LoadBalancer())'
    )
    (policy,) = resources(made, "AWS::AutoScaling::ScalingPolicy").values()
    metric = policy["TargetTrackingConfiguration"]["PredefinedMetricSpecification"]["PredefinedMetricType"]
    assert metric == "ASGAverageCPUUtilization"
    assert any("CPU is followed" in note for note in made.notes)


def test_zones_are_lettered_when_they_are_not_letters(synthesized: Make) -> None:
    subnets = resources(synthesized("plain"), "AWS::EC2::Subnet")
    assert subnets["PrivateSubnetNorth"]["AvailabilityZone"] == {"Fn::Sub": "${AWS::Region}a"}
    assert subnets["PrivateSubnetSouth"]["AvailabilityZone"] == {"Fn::Sub": "${AWS::Region}b"}
    assert len({each["CidrBlock"] for each in subnets.values()}) == len(subnets)


def test_a_service_may_be_called_like_a_resource(synthesize_text: Make) -> None:
    made = synthesize_text(
        'store = Relational("orders")\nstack = Stack("s", services=[Service("orders", "m:a", uses=[store])])'
    )
    rules = resources(made, "AWS::EC2::SecurityGroupIngress")
    assert list(rules) == ["OrdersToOrdersStoreOn5432"]


REFUSED = {
    "one zone": ('stack = Stack("s", services=[hello], zones=["a"])', "two zones"),
    "a CDN straight in front of instances": ('stack = Stack("s", services=[hello], cdn=CDN())', "add lb="),
    "a service with the name of the edge": (
        'stack = Stack("s", services=[Service("edge", "m:a", expose=["/"])], gateway=Gateway(), lb=LoadBalancer())',
        "rename one",
    ),
    "a function": (
        'stack = Stack("s", services=[hello], functions=[Function("f", "m:f", on=Queue("q"))])',
        "lambda_function",
    ),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_deployed_is_refused_with_its_reason(name: str, synthesize_text: Make) -> None:
    text, told = REFUSED[name]
    with pytest.raises(PlanError, match=told):
        synthesize_text(HELLO + text)


def test_nothing_of_the_templates_holds_a_secret(synthesized: Make) -> None:
    for name in ("cinema", "shop"):
        for login in resources(synthesized(name), "AWS::SecretsManager::Secret").values():
            assert "SecretString" not in login or "${" in login["SecretString"]["Fn::Sub"]
        for cluster in resources(synthesized(name), "AWS::RDS::DBCluster").values():
            assert cluster["ManageMasterUserPassword"] is True and "MasterUserPassword" not in cluster
