"""How many instances a fleet has: a target tracking policy per target of its scale, scheduled actions for seasons.

Of several policies the one that asks for most decides, as locally (EC2 Auto Scaling, target tracking). The service
itself decides how long less must be needed before it removes an instance: `cooldown` and `cooldown_in` are local.
"""

from __future__ import annotations

from typing import Any

from tierline.deploy.fleet import Fleet
from tierline.deploy.template import Template
from tierline.plan.seasons import concerns, schedule
from tierline.tiers.cloudformation import logical, ref, sub


def policies(template: Template, fleet: Fleet, id: str) -> None:
    """A policy for each target; by CPU where there is none, or none that can be measured."""
    scale = fleet.scale
    balanced = f"{logical(fleet.door.name)}Targets" in fleet.targets
    found: list[tuple[str, dict[str, Any]]] = []
    for kind in ("rps", "latency"):
        if scale.get(kind) and not balanced:
            template.note(
                f"{fleet.name}: {kind}= counts at the internal load balancer, which nobody uses; CPU is followed"
            )
    if balanced and scale.get("rps"):
        found.append(("Scaling", _requests(fleet)))
    if balanced and scale.get("latency"):
        found.append(("ScalingByLatency", _latency(fleet)))
    if scale.get("queue"):
        if queues := _queues(template, fleet):
            found.append(("ScalingByQueue", _backlog(fleet, id, queues)))
        else:
            template.note(f"{fleet.name}: queue= needs a queue among what it uses; CPU is followed")
    if scale.get("cpu") or not found:
        found.append(("ScalingByCPU" if found else "Scaling", _cpu(fleet)))
    for suffix, target in found:
        # Requests can be counted once the balancer sends some.
        counted = suffix in ("Scaling", "ScalingByLatency") and "CPU" not in str(target)
        later: dict[str, Any] = {"DependsOn": f"{logical(fleet.door.name)}Listener"} if counted else {}
        template.add(
            "apps",
            f"{id}{suffix}",
            "AWS::AutoScaling::ScalingPolicy",
            {
                "AutoScalingGroupName": ref(f"{id}Group"),
                "PolicyType": "TargetTrackingScaling",
                "EstimatedInstanceWarmup": round(scale["cooldown_out"])
                if scale.get("cooldown_out")
                else None,
                "TargetTrackingConfiguration": target,
            },
            **later,
        )


def _cpu(fleet: Fleet) -> dict[str, Any]:
    return {
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
        "TargetValue": round(100 * float(fleet.scale.get("cpu") or 0.6), 1),
    }


def _requests(fleet: Fleet) -> dict[str, Any]:
    inner = f"{logical(fleet.door.name)}Targets"
    return {
        "PredefinedMetricSpecification": {
            "PredefinedMetricType": "ALBRequestCountPerTarget",
            "ResourceLabel": sub(f"${{InnerBalancer.LoadBalancerFullName}}/${{{inner}.TargetGroupFullName}}"),
        },
        # The metric counts per target and minute.
        "TargetValue": round(60 * float(fleet.scale["rps"]), 1),
    }


def _latency(fleet: Fleet) -> dict[str, Any]:
    inner = f"{logical(fleet.door.name)}Targets"
    return {
        "CustomizedMetricSpecification": {
            "Namespace": "AWS/ApplicationELB",
            "MetricName": "TargetResponseTime",
            "Dimensions": [
                {"Name": "LoadBalancer", "Value": sub("${InnerBalancer.LoadBalancerFullName}")},
                {"Name": "TargetGroup", "Value": sub(f"${{{inner}.TargetGroupFullName}}")},
            ],
            "Statistic": "Average",
            "Unit": "Seconds",
        },
        "TargetValue": float(fleet.scale["latency"]),
    }


def _queues(template: Template, fleet: Fleet) -> list[Any]:
    """The names of the queues that the fleet's services work off."""
    roles = template.plan.roles
    needed = dict.fromkeys(
        need for member in fleet.members.values() for role in member.roles for need in role.needs
    )
    return [template.told(need, "name") for need in needed if roles[need].slot == "feature.queue"]


def _backlog(fleet: Fleet, id: str, queues: list[Any]) -> dict[str, Any]:
    """Messages that wait, for each instance in service (Auto Scaling user guide, metric math)."""
    waiting: list[dict[str, Any]] = [
        {
            "Id": f"q{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/SQS",
                    "MetricName": "ApproximateNumberOfMessagesVisible",
                    "Dimensions": [{"Name": "QueueName", "Value": queue}],
                },
                "Stat": "Sum",
            },
            "ReturnData": False,
        }
        for number, queue in enumerate(queues, 1)
    ]
    instances = {
        "Id": "n",
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/AutoScaling",
                "MetricName": "GroupInServiceInstances",
                "Dimensions": [{"Name": "AutoScalingGroupName", "Value": ref(f"{id}Group")}],
            },
            "Stat": "Average",
        },
        "ReturnData": False,
    }
    total = " + ".join(each["Id"] for each in waiting)
    each = {"Id": "each", "Expression": f"({total}) / n", "ReturnData": True}
    return {
        "CustomizedMetricSpecification": {"Metrics": [*waiting, instances, each]},
        "TargetValue": float(fleet.scale["queue"]),
    }


def seasons(template: Template, fleet: Fleet, id: str) -> None:
    """Two scheduled actions for each season with times: the least while it lasts, and the least again."""
    zones = len(template.plan.zones)
    least, most = fleet.scale["min"] * zones, fleet.scale["max"] * zones
    timed = [
        season
        for season in template.plan.seasons
        if season["start"] and concerns(season, fleet.door.roles[0])
    ]
    if len(timed) > 1:
        names = ", ".join(season["name"] for season in timed)
        template.note(f"seasons {names}: where they overlap, the end of one ends the raised capacity of all")
    for season in template.plan.seasons:
        if not concerns(season, fleet.door.roles[0]):
            continue
        name = logical(season["name"])
        times = schedule(season)
        if not times:
            template.note(f"season {season['name']}: it has no times, so nothing starts it")
        if season["warm_up"]:
            template.note(
                f"season {season['name']}: its warm-ups are done locally; here they are yours to run"
            )
        for when, number, at in zip(
            ("Begin", "End"), (min(season["min"] * zones, most), least), times, strict=False
        ):
            template.add(
                "apps",
                f"{id}{name}{when}",
                "AWS::AutoScaling::ScheduledAction",
                {
                    "AutoScalingGroupName": ref(f"{id}Group"),
                    "MinSize": max(number, least),
                    "MaxSize": most,
                    "StartTime": at.get("at"),
                    "Recurrence": at.get("cron"),
                    "TimeZone": at.get("timezone"),
                },
            )
