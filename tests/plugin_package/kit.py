"""The conformance kit as a third party runs it; test_plugin_package.py runs it after installing the toy."""

from __future__ import annotations

from harness.device import plugins
from harness.testing.conformance import BackendConformance


class TestToy(BackendConformance):
    backend = plugins.choose(plugins.BACKENDS, "toy")
