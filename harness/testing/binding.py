"""Tests of the conformance kit for optional Protocols: bound buffers and profiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core.contracts import Backend, SupportsDeviceBinding, SupportsProfile
from harness.core.errors import BackendError
from harness.testing.models import AFFINE
from harness.testing.opened import MISTAKES, Opened


class BindingConformance:
    """A base of ``BackendConformance``; a test is skipped if the session does not have the ability."""

    backend: ClassVar[Callable[[], Backend]]
    tolerance: ClassVar[float]

    def _agree(self, output: NDArray[Any], expected: NDArray[Any]) -> None:
        assert output.dtype == expected.dtype
        np.testing.assert_allclose(output, expected, rtol=self.tolerance, atol=self.tolerance)

    # SupportsBinding

    def test_bound_call_equals_run(self, affine: Opened) -> None:
        """Bit by bit, more than once."""
        feeds = AFFINE.feeds(3)
        expected = affine.run(feeds).tobytes()
        call = affine.bind(feeds)
        assert [call().tobytes() for _ in range(3)] == [expected] * 3

    def test_bound_call_keeps_its_feeds(self, affine: Opened) -> None:
        """The bound feeds are used, whatever the caller does later with the arrays or the session."""
        feeds, others = AFFINE.feeds(3), AFFINE.feeds(5, seed=1)
        expected = AFFINE.oracle(feeds)
        call = affine.bind(feeds)
        feeds["x"][...] = 9
        self._agree(call(), expected)
        self._agree(affine.run(others), AFFINE.oracle(others))
        self._agree(call(), expected)
        self._agree(affine.run(others), AFFINE.oracle(others))

    def test_two_bound_calls_do_not_meet(self, affine: Opened) -> None:
        """Each has its own feeds; the outputs are valid until the next call."""
        all_feeds = [AFFINE.feeds(samples, seed=samples) for samples in (2, 6)]
        calls = [affine.bind(feeds) for feeds in all_feeds]
        for _ in range(2):
            for call, feeds in zip(calls, all_feeds, strict=True):
                self._agree(call(), AFFINE.oracle(feeds))

    def test_bind_refuses_what_run_refuses(self, affine: Opened) -> None:
        """At the time of binding, not at the first call."""
        affine.bind(AFFINE.feeds(1))  # skips if it cannot
        for mistake in MISTAKES.values():
            with pytest.raises(BackendError):
                affine.session.bind(mistake(affine.file_feeds(AFFINE.feeds(2))))  # type: ignore[attr-defined]

    # SupportsDeviceBinding

    def test_device_call_has_run_when_it_returns(self, affine: Opened) -> None:
        """An output fetched after a call is that call's, whatever was done to arrays and session later."""
        feeds, others = AFFINE.feeds(3), AFFINE.feeds(5, seed=1)
        expected = AFFINE.oracle(feeds)
        call = affine.bind_device(feeds)
        feeds["x"][...] = 9
        for _ in range(2):
            call()
            self._agree(affine.fetched(call), expected)
            self._agree(affine.run(others), AFFINE.oracle(others))

    def test_two_device_calls_do_not_meet(self, affine: Opened) -> None:
        """Each has its own buffers, and a fetched output belongs to the caller."""
        all_feeds = [AFFINE.feeds(samples, seed=samples) for samples in (3, 3, 6)]
        calls = [affine.bind_device(feeds) for feeds in all_feeds]
        for call in calls:
            call()
        outputs = [affine.fetched(call) for call in calls]
        for call in calls:
            call()
        for output, call, feeds in zip(outputs, calls, all_feeds, strict=True):
            self._agree(output, AFFINE.oracle(feeds))
            affine.fetched(call)[...] = 9
            self._agree(affine.fetched(call), AFFINE.oracle(feeds))

    def test_bind_device_refuses_what_run_refuses(self, affine: Opened) -> None:
        """At the time of binding, not at the first call."""
        affine.bind_device(AFFINE.feeds(1))  # skips if it cannot
        for mistake in MISTAKES.values():
            with pytest.raises(BackendError):
                affine.session.bind_device(  # type: ignore[attr-defined]
                    mistake(affine.file_feeds(AFFINE.feeds(2)))
                )

    def test_probe_knows_where_buffers_can_be_bound(self, affine: Opened) -> None:
        """The host plans with the probe's answer; a session that cannot bind would give SKIPPED rows."""
        listed = affine.session.effective["provider"] in type(self).backend().probe().device_memory
        assert listed == isinstance(affine.session, SupportsDeviceBinding)

    # SupportsProfile

    def test_profile_tells_of_every_call(self, affine: Opened) -> None:
        """Every kernel has one time a call; the session itself is unchanged."""
        if not isinstance(affine.session, SupportsProfile):
            pytest.skip(f"{type(affine.session).__name__} has no profile")
        feeds = AFFINE.feeds(2)
        profile = affine.session.profile(affine.file_feeds(feeds), 7)
        assert profile
        for (_, operator), times_ns in profile.items():
            assert operator
            assert times_ns.dtype == np.int64
            assert times_ns.shape == (7,)
            assert (times_ns >= 0).all()
        self._agree(affine.run(feeds), AFFINE.oracle(feeds))
        for mistake in MISTAKES.values():
            with pytest.raises(BackendError):
                affine.session.profile(mistake(affine.file_feeds(feeds)), 1)
