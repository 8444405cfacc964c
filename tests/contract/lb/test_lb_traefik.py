"""lb.traefik keeps the load balancer's contract."""

import pytest
from lb_suite import LoadBalancerContract

from tierline.engines.traefik.engine import ENGINE
from tierline.errors import EngineError

try:
    ENGINE.binary()
except EngineError as missing:
    pytest.skip(str(missing), allow_module_level=True)


class TestTraefik(LoadBalancerContract):
    system = "traefik"
