"""The metrics of the accuracy suite."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from harness.core.metric import Column, Metric, Noise, Role
from harness.core.suite import CLEAN
from suites.accuracy import groups

_clean = partial(Metric, case=CLEAN, per_data_set=True)
METRICS: Mapping[str, Metric] = {
    "accuracy": _clean(
        "1", "higher", role=Role.RESULT, share="simple", column=Column("accuracy %", 100, ".2f"),
        shift_column=Column("worst shift pt", 100, "+.0f", spare=3),
    ),
    "ece": _clean("1", "lower", Noise.SAMPLE),
    "f1_micro": _clean(
        "1", "higher", role=Role.RESULT, column=Column("F1 %", 100, ".2f"),
        shift_column=Column("worst shift pt", 100, "+.0f", spare=3),
    ),
    "f1_macro": _clean("1", "higher"),
    "label_accuracy": _clean("1", "higher"),
    "auc": _clean(
        "1", "higher", role=Role.RESULT, column=Column("AUC", 1, ".4f"),
        shift_column=Column("worst shift pt", 100, "+.0f", spare=3),
    ),
    "partial_auc": _clean("1", "higher"),
    "recall_at_1": _clean(
        "1", "higher", role=Role.RESULT, column=Column("recall@1 %", 100, ".2f"),
        shift_column=Column("worst shift pt", 100, "+.0f", spare=3),
    ),
    "recall_at_5": _clean("1", "higher"),
    "mae": _clean("1", "lower"),
    "rmse": _clean("1", "lower", role=Role.RESULT, column=Column("rmse")),
    "r2": _clean("1", "higher"),
    "agreement": _clean(
        "1", "higher", role=Role.AGREEMENT, share="simple", column=Column("agreement %", 100, ".2f"),
        drift=True,
    ),
    "rank_correlation": _clean(
        "1", "higher", role=Role.AGREEMENT, column=Column("rank correlation", 1, ".4f"), drift=True,
    ),
    "accuracy_loss": _clean(
        "pt", "lower", role=Role.LOSS, share="paired",
        column=Column("loss pt [bound]", 1, ".2f", bound=True), drift=True,
    ),
    "f1_micro_loss": _clean(
        "1", "lower", role=Role.LOSS, column=Column("F1 loss pt [bound]", 100, ".2f", bound=True),
        drift=True,
    ),
    "f1_macro_loss": _clean("1", "lower", drift=True),
    "label_accuracy_loss": _clean("pt", "lower", share="paired", drift=True),
    "auc_loss": _clean(
        "1", "lower", role=Role.LOSS, column=Column("AUC loss [bound]", 1, ".4f", bound=True), drift=True,
    ),
    "partial_auc_loss": _clean("1", "lower", drift=True),
    "recall_at_1_loss": _clean(
        "pt", "lower", role=Role.LOSS,
        column=Column("recall loss pt [bound]", 1, ".2f", bound=True), drift=True,
    ),
    "recall_at_5_loss": _clean("pt", "lower", drift=True),
    "class_accuracy_loss": Metric("pt", "lower", role=Role.CLASS_LOSS, per_data_set=True),
    "error_increase": _clean("1", "lower", role=Role.LOSS),
    "flips_harmful": _clean("1", "lower", role=Role.HARMFUL, drift=True),
    "flips_beneficial": _clean("1", role=Role.BENEFICIAL, drift=True),
    "sqnr": _clean("dB", "higher", Noise.SAMPLE, drift=True),
    "max_abs_difference": _clean("1", "lower", Noise.SAMPLE, drift=True),
    "bit_exact": _clean("1", "higher", role=Role.BIT_EXACT, drift=True),
    "max_lsb": _clean("LSB", "lower"),
    "mean_lsb": _clean("LSB", "lower", Noise.SAMPLE),
    "difference_over_rounding": _clean("1", "lower", role=Role.ROUNDING),
    "nonfinite_outputs": _clean("1", "lower"),
    "input_digest_equal": _clean("1", "higher"),
    **groups.METRICS,
}  # fmt: skip
