"""dns.embedded keeps the name service's contract."""

from dns_suite import NameServiceContract


class TestEmbedded(NameServiceContract):
    system = "embedded"
