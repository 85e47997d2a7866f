"""Settings of all tests."""

from __future__ import annotations

import gc
import os
from collections import defaultdict

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


#: Tests of these folders start processes and wait for them; those of the first share a board or a cluster.
TOGETHER = ("board", "fleet", "hostile")
LONG = (*TOGETHER, "e2e")
#: A fixture that takes ten seconds to make: the files that use it stay together.
DEAR = "whole"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each worker of xdist begin with its part of the long tests, and end with short ones.

    ``worksteal`` cuts the list into one part a worker; near the end, idle workers take the last tests of
    others. So none waits for a long test of another, and files whose tests share fixtures stay together.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    sharing = {item.location[0] for item in items if DEAR in getattr(item, "fixturenames", ())}
    units, short = defaultdict[str, list[pytest.Item]](list), list[pytest.Item]()
    for item in items:
        folder = item.nodeid.partition("/")[2].partition("/")[0]
        file = item.location[0]
        if folder in LONG:
            units[folder if folder in TOGETHER else DEAR if file in sharing else file].append(item)
        else:
            short.append(item)
    parts: list[list[list[pytest.Item]]] = [[] for _ in range(workers)]
    for unit in sorted(units.values(), key=_files, reverse=True):
        min(parts, key=lambda part: sum(map(_files, part))).append(unit)
    ordered, left = list[pytest.Item](), len(items)
    for place, part in enumerate(parts):
        long = [item for unit in part for item in unit]
        size = left // (workers - place)  # as xdist cuts
        fill = max(0, size - len(long))
        ordered += [*long, *short[:fill]]
        short, left = short[fill:], left - size
    items[:] = [*ordered, *short]


def _files(unit: list[pytest.Item]) -> int:
    return len({item.location[0] for item in unit})


def pytest_collection_finish() -> None:
    """Leave what was imported and collected alone: collections that measures make would walk through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _the_same_numbers_in_any_order(request: pytest.FixtureRequest) -> None:
    """Begin a module's generator anew: tests run in random order, and a draw must not depend on it."""
    for generator in vars(request.module).values():
        if isinstance(generator, np.random.Generator):
            generator.bit_generator.state = np.random.default_rng(SEED).bit_generator.state
