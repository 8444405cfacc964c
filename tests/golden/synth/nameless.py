"""No name service: who deploys brings a certificate."""

from tierline import CDN, Countries, LoadBalancer, Service, Stack

stack = Stack(
    "nameless",
    cdn=CDN(countries=Countries(allow=["IE", "GB"])),
    lb=LoadBalancer(),
    services=[Service("hello", "hello:app", expose=["/hello"])],
)
