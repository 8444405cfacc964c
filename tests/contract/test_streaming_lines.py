"""Whole lineups stream, to a service in the Python worker and to a command alike."""

from __future__ import annotations

import pytest
from streaming_lines import LineStreaming
from streaming_suite import Place, leaves, streams, uploads


class WorkerToo(LineStreaming):
    """The Python worker's services beside the command."""

    @pytest.fixture
    def worker(self) -> Place:
        place = self.place
        return Place(place.plain, place.secure, place.authority)

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


class TestEmbedded(WorkerToo):
    lineup = "embedded"


class TestFast(WorkerToo):
    lineup = "fast"


class TestPopular(WorkerToo):
    lineup = "popular"


class TestAlternate(WorkerToo):
    lineup = "alternate"
