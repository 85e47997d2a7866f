"""The declarations of metrics: of the suites that are installed, and of those that a stored run names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from harness.core.errors import HarnessError
from harness.core.metric import Declared, Metric
from harness.core.plan import CARD
from harness.device import plugins
from harness.run import card_rows

#: Where ``run.json`` keeps the declarations of the suites that it was measured with.
KEY = "metrics"


def of_suite(name: str, suite: Any) -> Mapping[str, Metric]:  # noqa: ANN401 - a plug-in; checked here
    """The metrics that a suite declares.

    Raises
    ------
    HarnessError
        It declares something else.
    """
    metrics = getattr(suite, "metrics", None)
    if not isinstance(metrics, Mapping) or not all(isinstance(item, Metric) for item in metrics.values()):
        raise HarnessError(
            f"the suite {name} does not declare its metrics as harness.core.metric.Metric",
            where=f"{type(suite).__module__}.{type(suite).__qualname__}.metrics",
            cause="it was written for another version of the harness",
            next_step="give each metric its unit and direction: docs/adding-a-suite.md",
        )
    return metrics


def of_suites(suites: Mapping[str, Any]) -> Declared:
    """The metrics of some suites, and those of the group ``compression``.

    Raises
    ------
    HarnessError
        One declares something else.
    """
    return Declared(
        {**{name: of_suite(name, suite) for name, suite in suites.items()}, CARD: card_rows.METRICS}
    )


def installed() -> Declared:
    """The metrics of all installed suites; one that cannot be loaded declares nothing."""
    return _installed(tuple(plugins.catalogue(plugins.SUITES).values()))


@cache
def _installed(suites: tuple[plugins.Plugin, ...]) -> Declared:
    metrics = {}
    for plugin in suites:
        try:
            metrics[plugin.name] = of_suite(plugin.name, plugin.load()())
        except Exception:  # noqa: BLE001, S112 - a broken suite must not keep the others' results unreadable
            continue
    return Declared({**metrics, CARD: card_rows.METRICS})


def of_run(run: Mapping[str, Any]) -> Declared:
    """The metrics of a stored run: as the installed suites declare them, else as ``run.json`` says."""
    return installed().or_else(Declared.from_json(run.get(KEY, {})))
