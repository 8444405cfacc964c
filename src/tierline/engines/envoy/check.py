"""Envoy's own checker, for what Envoy would read later: `python -I -S check.py ENVOY BOOTSTRAP`.

`envoy --mode validate` looks at the bootstrap alone. Listeners, routes, clusters, endpoints and policies are watched
files, which Envoy reads once it runs, and where it says no it keeps what it had and tells nobody but its log. So
the files are put into the bootstrap in their places, and that whole is what Envoy is asked about. The exit code
is Envoy's; what it said is printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

_TIMEOUT = 30.0


def whole(bootstrap: dict[str, Any]) -> dict[str, Any]:
    """The bootstrap with the content of each watched file where it is named."""
    found = dict(bootstrap)
    dynamic = found.pop("dynamic_resources")
    found["static_resources"] = {
        "clusters": [_static(each) for each in _resources(dynamic["cds_config"])],
        "listeners": [_inlined(each) for each in _resources(dynamic["lds_config"])],
    }
    # Its socket may be in use by the Envoy that runs now.
    found.pop("admin", None)
    return found


def _inlined(value: Any) -> Any:
    if isinstance(value, list):
        return [_inlined(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: _inlined(each) for key, each in value.items()}
    if "rds" in made:
        made["route_config"] = _resources(made.pop("rds")["config_source"])[0]
    if "config_discovery" in made:
        (policy,) = _resources(made.pop("config_discovery")["config_source"])
        made["typed_config"] = policy["typed_config"]
    return made


def _static(cluster: dict[str, Any]) -> dict[str, Any]:
    if cluster.get("type") != "EDS":
        return cluster
    source = cluster.pop("eds_cluster_config")["eds_config"]
    return {**cluster, "type": "STATIC", "load_assignment": _resources(source)[0]}


def _resources(source: dict[str, Any]) -> list[dict[str, Any]]:
    with open(source["path_config_source"]["path"]) as file:  # noqa: PTH123  pathlib would be most of its start
        read = json.load(file)["resources"]
    return [{key: value for key, value in each.items() if key != "@type"} for each in read]


def main(envoy: str, bootstrap: str) -> int:
    with open(bootstrap) as file:  # noqa: PTH123
        config = whole(json.load(file))
    path = f"{bootstrap}.check.json"  # Envoy knows the format by the suffix
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(config, file)
    argv = [envoy, "--mode", "validate", "-c", path, "--log-level", "error", "--log-format", "%v"]
    try:
        done = subprocess.run(
            argv, timeout=_TIMEOUT, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        print(f"envoy --mode validate took longer than {_TIMEOUT:g} s")
        return 1
    finally:
        os.unlink(path)  # noqa: PTH108
    if done.returncode:
        print((done.stdout + done.stderr).replace(f"'{path}'", "").strip())
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
