"""Settings of all tests."""

from __future__ import annotations

import numpy as np
import pytest
import tqdm
from hypothesis import HealthCheck, settings

SEED = 0
# ai-edge-quantizer shows bars, whose thread stays for the life of a process. In one run it aborted a worker
# (SIGABRT while it took its lock; the cause is unknown); no test looks at bars.
tqdm.tqdm.monitor_interval = 0
# No test may fail because the machine is busy.
settings.register_profile("no wall times", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no wall times")


@pytest.fixture(autouse=True)
def _the_same_numbers_in_any_order(request: pytest.FixtureRequest) -> None:
    """Begin a module's generator anew: tests run in random order, and a draw must not depend on it."""
    for generator in vars(request.module).values():
        if isinstance(generator, np.random.Generator):
            generator.bit_generator.state = np.random.default_rng(SEED).bit_generator.state
