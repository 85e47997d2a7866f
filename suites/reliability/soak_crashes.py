"""How often the process of a soak died: a soak that was continued after it does not hide it."""

from __future__ import annotations

from harness.core.job import CRASHES, Samples
from harness.core.measurement import Measurement
from harness.core.metric import Metric, Noise

METRICS = {"soak_crashes": Metric("1", "lower", Noise.SAMPLE, case="soak")}


def row(samples: Samples) -> Measurement:
    """Count the processes that ended without a result."""
    texts = [str(text).partition("\n")[0] for text in samples.values.get(CRASHES, ())]
    note = "; ".join(dict.fromkeys(texts)) or "no process of the soak crashed"
    return Measurement("soak_crashes", "1", len(texts), n=1 + len(texts), reason=note)
