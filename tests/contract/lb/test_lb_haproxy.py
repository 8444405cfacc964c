"""lb.haproxy keeps the load balancer's contract."""

from lb_suite import LoadBalancerContract


class TestHAProxy(LoadBalancerContract):
    system = "haproxy"
