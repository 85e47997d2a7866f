from tract_backend import TractBackend

from harness.testing.conformance import BackendConformance


class TestTract(BackendConformance):
    backend = TractBackend
