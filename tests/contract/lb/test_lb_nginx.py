"""lb.nginx keeps the load balancer's contract."""

from lb_suite import LoadBalancerContract


class TestNginx(LoadBalancerContract):
    system = "nginx"
