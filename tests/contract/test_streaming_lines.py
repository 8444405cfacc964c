"""Whole lineups stream, to a service in the Python worker and to a command alike."""

from __future__ import annotations

import uuid

import pytest
from streaming_lines import LineStreaming
from streaming_suite import Place, leaves, streams, uploads


class WorkerToo(LineStreaming):
    """The Python worker's services beside the command."""

    @pytest.fixture
    def worker(self) -> Place:
        place = self.place
        return Place(place.plain, place.secure, place.authority, quic=place.quic)

    @pytest.mark.parametrize("kind", ["sse", "ndjson", "html"])
    def test_an_asgi_application_streams(self, kind: str, worker: Place) -> None:
        for version in worker.versions:
            streams(worker, version, "GET", kind, "gzip")
            worker.tidy()

    def test_an_asgi_application_learns_that_a_client_has_left(self, worker: Place) -> None:
        self.each("disconnects", leaves, "POST", "wait", place=worker)
        self.each("leaves-stream", leaves, "GET", "stream", place=worker)

    def test_an_upload_reaches_an_asgi_application_as_it_comes(self, worker: Place) -> None:
        self.each("uploads", uploads, True, place=worker)

    def test_a_wsgi_application_streams(self, worker: Place) -> None:
        worker.prefix = "/wsgi"
        for version in worker.versions:
            streams(worker, version, "GET", "sse", "")
            worker.tidy()

    @pytest.mark.parametrize(("client", "accept"), [
        ("web", "text/html"), ("mobile", "text/event-stream"), ("mobile", "application/x-ndjson"),
    ])  # fmt: skip
    def test_a_journeys_deferred_part_comes_after_its_first_screen(
        self, client: str, accept: str, worker: Place
    ) -> None:
        def deferred(place: Place, version: str) -> None:
            id = uuid.uuid4().hex
            stream = "" if client == "web" else "?stream"
            asked = place.ask(version, "GET", f"/film/{id}{stream}", {"x-client": client, "accept": accept})
            assert asked.head() == 200, asked.body
            assert "piece 1" not in asked.until("piece 0 of")
            place.say("next", id)
            assert "piece 1 of" in asked.whole()

        self.each("streams", deferred, place=worker)

    def test_a_journeys_live_part_sends_until_its_client_leaves(self, worker: Place) -> None:
        def live(place: Place, version: str) -> None:
            id = uuid.uuid4().hex
            asked = place.ask(version, "GET", f"/ticks/{id}?stream", {"accept": "text/event-stream"})
            for number in range(3):
                asked.until(f"piece {number} of")
                place.say("next", id)
            asked.leave()
            place.say("left", id)

        self.each("disconnects", live, place=worker)


class TestEmbedded(WorkerToo):
    lineup = "embedded"


class TestFast(WorkerToo):
    lineup = "fast"


class TestPopular(WorkerToo):
    lineup = "popular"


class TestAlternate(WorkerToo):
    lineup = "alternate"
