"""PowerDNS as an engine: its geoip backend over a YAML file that a keeper writes."""

from tierline.engines.powerdns.engine import ENGINE

__all__ = ["ENGINE"]
