"""The suite is a module of its own: its asserts explain themselves like a test file's."""

import pytest

pytest.register_assert_rewrite(
    "gateway_suite", "feature_suite", "keys_suite", "openapi_suite", "login_suite", "mtls_suite", "body_suite", "limits_suite",
    "gateway_running_suite", "shared_limits_suite",
)  # fmt: skip
