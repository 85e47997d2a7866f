"""Cards → rows: the properties of a variant as metrics. The group is the suite ``compression``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.config.validation import FLOAT32
from harness.core.artifact import Artifact
from harness.core.job import DEPLOY, Batch, JobKey
from harness.core.measurement import Measurement, Row
from harness.core.metric import Metric, Noise
from harness.core.plan import CARD, HOST
from harness.store.run_folder import Facts

#: The case of a metric of the whole model; a metric of a layer has the layer's name as its case.
WHOLE = "model"
#: Declared as a suite declares its metrics.
METRICS: Mapping[str, Metric] = {
    **{name: Metric("byte", "lower", case=WHOLE) for name in ("file_byte", "gzip_byte")},
    **{name: Metric("1", "lower", case=WHOLE) for name in ("file_byte_ratio", "gzip_byte_ratio")},
    **{name: Metric("1", case=WHOLE) for name in ("parameters", "sparsity")},
    "unique_weights": Metric("1"),
    "bits_per_weight": Metric("bit", case=WHOLE),
    **{name: Metric("dB", "higher", Noise.SAMPLE) for name in ("weight_sqnr", "output_sqnr")},
}


def rows(facts: Facts) -> list[Row]:
    """Make the row group of every variant on every target and backend, for the file that runs there."""
    first: dict[tuple[str, str, str], Batch] = {}
    for batch in facts.plan.batches:
        if batch.target != HOST and batch.variant in facts.cards:
            first.setdefault((batch.target, batch.backend, batch.variant), batch)
    made = []
    for (target, backend, variant), batch in first.items():
        identity = {
            "run_id": facts.run["run_id"],
            "model": facts.run["model"]["name"],
            "model_sha256": facts.run["model"]["sha256"],
            "artifact_sha256": batch.artifact.sha256,
        }
        key = JobKey(target, backend, DEPLOY, variant, CARD, WHOLE, 0)
        measurements = _measurements(facts.cards[variant], facts.cards.get(FLOAT32, {}), batch.artifact)
        made += [Row(key, measurement, identity) for measurement in measurements]
    return made


def _measurements(
    card: Mapping[str, Any], reference: Mapping[str, Any], artifact: Artifact
) -> Iterator[Measurement]:
    file = card["files"].get(artifact.format, {})
    base = reference.get("files", {}).get(artifact.format, {})
    for key, metric in (("size_byte", "file_byte"), ("gzip_byte", "gzip_byte")):
        if key in file:
            yield Measurement(metric, "byte", file[key], n=1)
        if key in file and key in base:
            yield Measurement(
                f"{metric}_ratio", "1", file[key] / base[key], n=1, reference=f"{FLOAT32}@{HOST}"
            )
    for key, unit in (("parameters", "1"), ("sparsity", "1"), ("bits_per_weight", "bit")):
        if key in card:
            yield Measurement(key, unit, card[key], n=1)
    for layer in card.get("layers", ()):
        layer_fields = {"n": layer["weights"], "case": layer["layer"]}
        yield Measurement("sparsity", "1", layer["sparsity"], **layer_fields)
        yield Measurement("unique_weights", "1", layer["unique_weights"], **layer_fields)
        for key, metric in (("weight_sqnr_db", "weight_sqnr"), ("output_sqnr_db", "output_sqnr")):
            if layer.get(key) is not None:  # absent: not comparable; null: nothing was lost
                yield Measurement(metric, "dB", layer[key], reference=f"{FLOAT32}@{HOST}", **layer_fields)
