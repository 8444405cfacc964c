"""The shop's line; one zone, since its services keep what they have in memory."""

from journeys import add, address, cart, delivery, order, product, review
from tierline import CDN, DNS, Gateway, HTTPCache, LoadBalancer, Mobile, Service, Sessions, Stack, Web

names = ("catalogue", "pricing", "stock", "opinions", "carts", "orders")

stack = Stack(
    "shop",
    clients=[Web(), Mobile()],
    dns=DNS("shop.test"),
    cdn=CDN(),
    lb=LoadBalancer(),
    cache=HTTPCache(),
    gateway=Gateway(),
    journeys=[product, review, cart, add, address, delivery, order],
    services=[
        Service("catalogue", "shop.services:catalogue", uses=[Sessions("session", ttl="30d")]),
        *(Service(name, f"shop.services:{name}") for name in names[1:]),
    ],
    zones=["a"],
)
