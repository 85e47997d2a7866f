"""The conformance kit as this stranger runs it; test_plugin_package.py does so where the toy is installed."""

from __future__ import annotations

from harness.device import plugins
from harness.testing.conformance import BackendConformance


class TestToy(BackendConformance):
    backend = plugins.choose(plugins.BACKENDS, "toy")
