"""dns.bind9 keeps the name service's contract."""

from dns_suite import NameServiceContract


class TestBind9(NameServiceContract):
    system = "bind9"
