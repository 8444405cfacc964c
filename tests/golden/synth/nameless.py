"""No name service: who deploys brings a certificate."""

from tierline import CDN, LoadBalancer, Service, Stack

stack = Stack(
    "nameless",
    cdn=CDN(),
    lb=LoadBalancer(),
    services=[Service("hello", "hello:app", expose=["/hello"])],
)
