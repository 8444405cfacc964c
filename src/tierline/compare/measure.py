"""What a running line takes: processor time by tier, memory, and which binaries really run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import psutil

from tierline.engines import binaries
from tierline.tiers.base import system


def cpu(told: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of processor time so far, by tier. A process that plays several tiers counts for all their names
    together (`cdn+cache`), so that nothing is counted twice and no share is made up."""
    found: dict[str, float] = defaultdict(float)
    for process in told["processes"]:
        if process["pid"]:
            for each in _tree(process["pid"]):
                times = each.cpu_times()
                found[_tiers(process, told)] += times.user + times.system
    return dict(found)


def memory(told: Mapping[str, Any]) -> dict[str, float]:
    """Proportional set size in MB, by tier, and of the supervisor."""
    found: dict[str, float] = defaultdict(float)
    for process in told["processes"]:
        if process["pid"]:
            used = sum(each.memory_full_info().pss for each in _tree(process["pid"]))
            found[_tiers(process, told)] += used / 1e6
    found["supervisor"] = psutil.Process(told["pid"]).memory_full_info().pss / 1e6
    return dict(found)


def programs(told: Mapping[str, Any]) -> list[dict[str, str]]:
    """Name, path, version and SHA-256 of every program that runs: read from the running processes."""
    from tierline.run.line import engine

    found: dict[str, dict[str, str]] = {}
    for process in told["processes"]:
        if process["pid"]:
            path = psutil.Process(process["pid"]).exe()
            if path not in found:
                found[path] = {
                    "engine": process["engine"],
                    "path": path,
                    "version": engine(process["engine"]).version(),
                    "sha256": binaries.sha256(path),
                }
    return sorted(found.values(), key=lambda each: each["engine"])


def lacks(told: Mapping[str, Any]) -> dict[str, str]:
    """What the systems of the lineup say that they can't do, by `slot: feature`."""
    return {
        f"{slot}.{name}: {feature}": why
        for slot, name in told["lineup"].items()
        for feature, why in system(slot, name).lacks.items()
    }


def _tree(pid: int) -> list[psutil.Process]:
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.Error:
        return []


def _tiers(process: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """What a process plays; a helper, such as `cache.a.hops`, counts for the one that it helps."""
    tiers = process["tiers"]
    if not tiers:
        helped = [each for each in told["processes"] if process["name"].startswith(f"{each['name']}.")]
        tiers = max(helped, key=lambda each: len(each["name"]))["tiers"] if helped else [process["engine"]]
    return "+".join(dict.fromkeys(tiers))
