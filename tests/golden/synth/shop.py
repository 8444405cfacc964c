"""Every kind of resource that deploys, and all tiers."""

from tierline import (
    CDN,
    DNS,
    JWT,
    Bucket,
    Cache,
    Gateway,
    HTTPCache,
    LoadBalancer,
    Mail,
    Queue,
    RateLimit,
    Record,
    Relational,
    Scale,
    Service,
    Sessions,
    Stack,
    Stream,
    Table,
    Topic,
    Weighted,
)

goods = Relational("goods", schema="sql", replicas=2)
baskets = Table("baskets", key="customer", sort="item", ttl="until")
tokens = JWT(issuer="shop", audience="shop", paths=["/basket"])
stock = Service(
    "stock",
    "shop:stock",
    uses=[goods, Cache("hot", memory="2GiB")],
    expose=["/stock"],
    scale=Scale(2, 6, cpu=0.5),
)
basket = Service(
    "basket",
    "shop:basket",
    uses=[baskets, Sessions("session"), tokens, Queue("sales", dead_letter_after=3, visibility="2m"), stock],
    expose=["/basket"],
    env={"GREETING": 'it\'s "good" ${to} see $you'},
)
office = Service(
    "back-office",
    command=["serve", "--port", "$PORT"],
    uses=[
        Topic("news"),
        Stream("clicks", retention="3d"),
        Bucket("invoices"),
        Mail("mails", sender="shop@other.test"),
    ],
    expose=["/office"],
    scale=Scale(1, 2, rps=50),
)

stack = Stack(
    "shop",
    dns=DNS(
        "shop.test",
        route=Weighted(weights={"us-east-1": 3, "eu-west-1": 1}),
        health="/stock/health",
        records=[Record("@", "TXT", ["v=spf1 -all"]), Record("status", "CNAME", ["status.other.test."])],
    ),
    cdn=CDN(
        assets="web", buckets={"/invoices/": "invoices"}, places=["us-east-1", "eu-west-1"], raw="gzip off;"
    ),
    lb=LoadBalancer(balance="consistent_hash", hsts="365d", health="/stock/health", zone_aware=False),
    cache=HTTPCache(),
    gateway=Gateway(auth=tokens, limits=[RateLimit(100)]),
    services=[stock, basket, office],
    region="us-east-1",
    zones=["a", "b", "c"],
)
