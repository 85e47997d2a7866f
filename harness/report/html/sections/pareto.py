"""Variants: bytes against clean accuracy."""

from __future__ import annotations

from harness.core.job import Status
from harness.report.html.data import Plot, ReportData, Section


def pareto(data: ReportData) -> Section | None:
    """One point per target, backend and variant whose size and accuracy are both measured."""
    sizes, accuracies = {}, {}
    for row in data.device_rows:
        m = row.measurement
        if m.status is not Status.OK or row.key.setting != "deploy":
            continue
        who = (f"{row.key.target}/{row.key.backend}", row.key.variant)
        if m.metric == "model_bytes":
            sizes[who] = m.value
        elif m.metric == "accuracy" and row.case == "clean":
            accuracies[who] = m.value
    both = [who for who in sizes if who in accuracies]
    if not both:
        return None
    traces = [
        {
            "type": "scatter", "mode": "markers+text", "name": device, "textposition": "top center",
            "text": [variant for _, variant in mine], "x": [sizes[who] for who in mine],
            "y": [round(accuracies[who], 6) for who in mine],
        }
        for device in dict.fromkeys(device for device, _ in both)
        for mine in [[who for who in both if who[0] == device]]
    ]  # fmt: skip
    text = "; ".join(f"{d} {v}: {sizes[d, v]:.0f} bytes, accuracy {accuracies[d, v]:.4f}" for d, v in both)
    axes = {"xaxis": {"title": {"text": "bytes"}}, "yaxis": {"title": {"text": "accuracy"}}}
    plot = Plot("Size against clean accuracy: up and to the left is better", text, traces, axes)
    return Section("Variants", 50, "", (plot,))
