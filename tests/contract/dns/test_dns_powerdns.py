"""dns.powerdns keeps the name service's contract."""

from dns_suite import NameServiceContract


class TestPowerDNS(NameServiceContract):
    system = "powerdns"
