"""The cinema's whole line: what it consists of, not where or on what it runs."""

from journeys import checkout, film, home, join, resume, search
from tierline import (
    CDN,
    DNS,
    JWT,
    Affiliate,
    Bucket,
    Cache,
    Gateway,
    HTTPCache,
    Latency,
    LoadBalancer,
    Mail,
    Mobile,
    Queue,
    RateLimit,
    Relational,
    Scale,
    Season,
    Service,
    Sessions,
    Stack,
    Stream,
    Visit,
    Web,
)

# What the services use.
films = Relational("films", schema="sql/films", load=["python", "-m", "cinema.load"], replicas=1)
accounts = Relational("accounts", schema="sql/accounts")
hot = Cache("hot", memory="64MiB")
session = Sessions("session", ttl="30d")
events = Stream("ratings", key="film_id")
orders_queue = Queue("orders", dead_letter_after=5)
bucket = Bucket("posters")
receipts = Mail("receipts", sender="tickets@cinema.test")
tokens = JWT(issuer="cinema", audience="cinema", paths=["/checkout", "/orders", "/join"])

catalog = Service(
    "catalog", "cinema.catalog:app", uses=[films, hot], expose=["/films", "/top"], scale=Scale(1, 4, rps=200)
)
members = Service(
    "members",
    "cinema.members:app",
    uses=[session, accounts, tokens],
    expose=["/login", "/logout", "/me", "/watchlist"],
)
ratings = Service(
    "ratings", "cinema.ratings:app", uses=[events, hot, accounts], expose=["/ratings", "/leaderboard"]
)
orders = Service(
    "orders", "cinema.orders:app", uses=[orders_queue, accounts, receipts, catalog], expose=["/orders"]
)
posters = Service("posters", "cinema.posters:app", uses=[bucket, films], expose=["/posters"])

stack = Stack(
    "cinema",
    clients=[Web(), Mobile(), Affiliate(header="x-affiliate")],
    dns=DNS("cinema.test", route=Latency(), health="/health"),
    cdn=CDN(assets="web", places=["eu-west-1", "us-east-1", "ap-southeast-2"]),
    lb=LoadBalancer(balance="least_request"),
    cache=HTTPCache(stale_while_revalidate="30s", stale_if_error="5m"),
    gateway=Gateway(auth=tokens, limits=[RateLimit(2000, per="1s", by="client", burst=4000)]),
    journeys=[home, film, search, checkout, resume, join],
    services=[catalog, members, ratings, orders, posters],
    # `tierline season premiere start`: two of each zone's catalogs and journeys, with warm caches and buffers.
    seasons=[Season("premiere", min=2, services=[catalog], warm_up=["/film/{1..40}", "/home", films])],
    workload=[
        Visit("/film/{1..2000}", weight=6),
        Visit("/home", weight=3, client="mobile"),
        Visit("/search?q=alien", weight=2),
        Visit("/films/{1..58000}", weight=2, client="mobile", region="us-east-1"),
        Visit("/posters/{1..40}.svg", weight=3),
        Visit("/", weight=1),
    ],
    region="eu-west-1",
    zones=["a", "b"],
)
