"""The contract suites: one per tier, inherited by every system with an empty subclass."""

import pytest

pytest.register_assert_rewrite("wire_suite", "streaming_suite", "streaming_client")
