"""Every tier but the name service (whose table of the world is long), and every kind of resource, once."""

from tierline import (
    CDN,
    JWT,
    Affiliate,
    Bucket,
    Cache,
    Function,
    Gateway,
    HTTPCache,
    Journey,
    LoadBalancer,
    Mail,
    Mobile,
    Queue,
    RateLimit,
    Relational,
    Scale,
    Service,
    Sessions,
    Stack,
    Stream,
    Table,
    Topic,
    Web,
)

goods = Relational("goods", schema="sql", replicas=1)
baskets = Table("baskets", key="owner")
work = Queue("work")
tokens = JWT(issuer="shop", audience="shop", paths=["/orders"])

home = Journey("home", "/home")


@home.part
async def top(catalog):
    return (await catalog.get("/goods")).json()


catalog = Service(
    "catalog", "shop.catalog:app", uses=[goods, Cache("hot")], expose=["/goods"], scale=Scale(2, 4)
)
orders = Service(
    "orders",
    "shop.orders:app",
    uses=[goods, baskets, work, Sessions("session"), tokens, catalog],
    expose=["/orders"],
    env={"CURRENCY": "EUR"},
)
printer = Service(
    "printer", command=["python", "print.py", "$PORT"], uses=[Bucket("labels"), Stream("printed")]
)

stack = Stack(
    "shop",
    clients=[Web(), Mobile(), Affiliate()],
    cdn=CDN(assets="web", places=["eu-west-1", "us-east-1"]),
    lb=LoadBalancer(),
    cache=HTTPCache(stale_while_revalidate="30s"),
    gateway=Gateway(auth=tokens, limits=[RateLimit(100)]),
    journeys=[home],
    services=[catalog, orders, printer],
    functions=[Function("packer", "shop.pack:handle", work, uses=[goods, Mail("letters"), Topic("packed")])],
    zones=["a", "b"],
)
