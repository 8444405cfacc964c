"""A load balancer straight in front of services: the line closes up over what is left out."""

from tierline import DNS, LoadBalancer, Relational, Service, Stack

notes = Relational("notes")
read = Service("read", "notes:read", uses=[notes], expose=["/notes", "/"], health="/up")
write = Service("write", "notes:write", uses=[notes, read], expose=["/notes/new"])

stack = Stack(
    "notes",
    dns=DNS("notes.test"),
    lb=LoadBalancer(redirect_http=True),
    services=[read, write],
    region="eu-central-1",
    zones=["north", "south"],
)
