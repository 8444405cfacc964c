"""The document of what a gateway exposes: valid OpenAPI 3.1, with the policies in it, served by the gateway."""

from __future__ import annotations

import json
from typing import Any

import httpx
from feature_suite import Contract
from openapi_spec_validator import OpenAPIV31SpecValidator

from tierline import JWT, Access, APIKeys, Gateway, Quota, RateLimit, Route, Service, Stack, Version


class OpenAPIContract(Contract):
    """Inherit it and name the system."""

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(
                auth=JWT(issuer="issuer", audience="us", paths=["/private"]),
                keys=APIKeys(consumers={"ann": "small"}, paths=["/keyed"], plans=[Quota("small", 3, "1h")]),
                limits=[RateLimit(50, per="1s", paths=["/limited"])],
                access=[Access(paths=["/scoped"], methods=["POST"], scopes=["films:write"])],
                routes=[
                    *(Route(f"/many/{number}/{{id}}", to="echo") for number in range(40)),
                    Route("/only", to="echo", methods=["GET"], exact=True),
                ],
                versions=[Version("v1", deprecated="2026-01-31", sunset="2027-01-31"), Version("v2")],
                openapi="/openapi.json",
            ),
            services=[
                Service("echo", "app:app", expose=["/open", "/private", "/keyed", "/limited", "/scoped"])
            ],
            zones=["a"],
        )  # fmt: skip

    def document(self) -> tuple[httpx.Response, dict[str, Any]]:
        answer = self.get("/openapi.json")
        assert answer.status_code == 200
        return answer, answer.json()

    def test_the_document_is_served_whole_and_valid(self) -> None:
        self.asks("openapi")
        answer, found = self.document()
        assert answer.headers["content-type"] == "application/json"
        assert "x-role" not in answer.headers
        assert len(answer.content) > 40_000  # larger than an engine's buffer
        OpenAPIV31SpecValidator(found).validate()
        head = self.client.head("/openapi.json")
        assert head.status_code == 200 and not head.content
        assert self.client.post("/openapi.json").status_code == 404

    def test_operations_say_what_they_need(self) -> None:
        self.asks("openapi")
        _, found = self.document()
        paths = found["paths"]
        assert "security" not in paths["/open"]["get"]
        assert paths["/private/{below}"]["get"]["security"] == [{"token": []}]
        assert paths["/keyed"]["get"]["security"] == [{"key": []}]
        assert paths["/scoped"]["post"]["security"] == [{"token": ["films:write"]}]
        assert "429" in paths["/limited"]["get"]["responses"] and "429" in paths["/keyed"]["get"]["responses"]
        assert "429" not in paths["/open"]["get"]["responses"]
        assert list(paths["/only"]) == ["get"]
        schemes = found["components"]["securitySchemes"]
        assert schemes["token"]["bearerFormat"] == "JWT" and schemes["key"]["name"] == "x-api-key"
        # What it says of a path is what the gateway does there.
        for path, needs in (("/open", 200), ("/private/x", 401), ("/keyed", 401)):
            assert self.get(path).status_code == needs

    def test_old_versions_are_deprecated_in_it(self) -> None:
        self.asks("openapi")
        _, found = self.document()
        old, new = found["paths"]["/v1/private"]["get"], found["paths"]["/v2/private"]["get"]
        assert old["deprecated"] and "deprecated" not in new
        assert old["security"] == new["security"] == [{"token": []}]
        assert json.dumps(found).count('"operationId"') == len(
            {operation["operationId"] for item in found["paths"].values() for operation in item.values()}
        )

    def test_it_counts_as_a_route(self) -> None:
        self.asks("openapi")
        trace = "6" * 32
        self.get("/openapi.json", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
        (hop,) = self.line.hops(trace)
        assert hop.attributes["http.route"] == "openapi" and hop.status == 200
