"""A card as text: about a dozen lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: How many of the layers and classes that lost most are named.
NAMED = 3


def card_text(card: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """Return size, speed and losses of a variant beside its float model."""
    lines = [
        f"{card['variant']}   {' -> '.join(step['pass'] for step in card['lineage']['recipe']) or 'as given'}"
    ]
    for fmt, file in card["files"].items():
        base = reference["files"].get(fmt, file)
        lines.append(
            f"  {fmt:<9}{file['name']:<28}{file['size_byte'] / 1e6:8.3f} MB"
            f"   {file['size_byte'] / base['size_byte']:.3f} x float32"
            f"   gzip {file['gzip_byte'] / base['gzip_byte']:.3f} x   {file['sha256'][:12]}"
        )
    if "weights" in card:
        lines.append(
            f"  weights  {card['weights']:,} of {card['bits_per_weight']:.2f} bits,"
            f" {card['sparsity']:.0%} zero"
        )
    if speed := card.get("speed"):
        lines.append(
            f"  speed    {speed['speed_up']:.2f} x float32 [{speed['ci_low']:.2f}, {speed['ci_high']:.2f}]"
            " on ONNX Runtime on this machine, one thread"
        )
    lost = sorted(
        (layer for layer in card.get("layers", ()) if layer.get("output_sqnr_db") is not None),
        key=lambda layer: float(layer["output_sqnr_db"]),
    )
    if lost:
        noisiest = ", ".join(f"{layer['layer']} {layer['output_sqnr_db']:.1f} dB" for layer in lost[:NAMED])
        lines.append(f"  noisiest {noisiest}")
    worst = sorted((entry for entry in card["classes"] if entry["loss_pt"] > 0), key=lambda e: -e["loss_pt"])
    if card["classes"]:
        losses = ", ".join(
            f"{e['name']} {e['loss_pt']:.1f} pt [{e['ci_low']:.1f}, {e['ci_high']:.1f}]"
            for e in worst[:NAMED]
        )
        lines.append(f"  classes  {losses or 'no class lost accuracy'}")
    return "\n".join([*lines, *(f"  note     {note}" for note in card["notes"])])
