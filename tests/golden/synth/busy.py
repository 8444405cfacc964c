"""Everything that a scale and a season can say."""

from tierline import (
    Gateway,
    Journey,
    LoadBalancer,
    Queue,
    Relational,
    Scale,
    Season,
    Service,
    Stack,
)

films = Relational("films")
jobs, mails = Queue("jobs"), Queue("mails")
catalog = Service(
    "catalog",
    "busy:catalog",
    uses=[films],
    expose=["/films"],
    scale=Scale(1, 4, rps=200, latency="250ms", cpu=0.7, cooldown_out="2m"),
)
tickets = Service(
    "tickets", "busy:tickets", uses=[films], expose=["/tickets"], scale=Scale(1, 6, latency="0.2s")
)
packer = Service("packer", command=["pack"], uses=[jobs, mails], scale=Scale(1, 8, queue=100))
lonely = Service("lonely", "busy:lonely", scale=Scale(1, 2, queue=5))

home = Journey("home", "/home")


@home.part
async def top(catalog): ...


@home.part
async def free(tickets): ...


stack = Stack(
    "busy",
    lb=LoadBalancer(),
    gateway=Gateway(),
    journeys=[home],
    services=[catalog, tickets, packer, lonely],
    scale=Scale(1, 5, cpu=0.5),
    seasons=[
        Season(
            "premiere",
            min=3,
            services=[catalog, tickets],
            start="2031-12-18T18:00",
            end="2031-12-20T02:00",
            timezone="Europe/Berlin",
            lead="15m",
            warm_up=["/films", "busy:warm", films],
        ),
        Season(
            "evening",
            start="00:05",
            end="23:00",
            days=["fri", "sun"],
            lead="10m",
            timezone="America/New_York",
            min=2,
        ),
        Season("by-hand", min=2),
    ],
)
