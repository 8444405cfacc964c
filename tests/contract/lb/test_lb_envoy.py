"""lb.envoy keeps the load balancer's contract."""

from lb_suite import LoadBalancerContract


class TestEnvoy(LoadBalancerContract):
    system = "envoy"
