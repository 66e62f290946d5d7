"""Settings for property tests: quick, and no deadline on a busy machine."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit",
    deadline=None,
    max_examples=150,
    # tests/conftest.py isolates every test from the user's environment; once a test will do
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("unit")
