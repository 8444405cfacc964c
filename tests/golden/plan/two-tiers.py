"""Load balancer and gateway only: the line closes up over what is left out."""

from tierline import Gateway, LoadBalancer, Relational, Service, Stack

goods = Relational("goods")

stack = Stack(
    "two-tiers",
    lb=LoadBalancer(),
    gateway=Gateway(),
    services=[Service("goods", "goods:app", uses=[goods], expose=["/"])],
    zones=["a", "b"],
)
