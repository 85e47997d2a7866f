"""Write a ``validation.toml`` with the reasons beside the values."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import tasks
from harness.config.fields import is_name
from harness.config.schema import DataTable
from harness.core.preprocess import Preprocess
from harness.core.suite import ProposedGate

#: Outputs larger than this in total are reduced on the device instead of stored.
KEEP_MOST_BYTE = 300_000_000
FAMILIES = {
    "image": ("gaussian_noise", "impulse_noise", "gaussian_blur", "brightness", "contrast", "pixelate"),
    "audio": ("background_noise", "distance", "overdrive", "muffled", "gap", "converter"),
    "features": ("gaussian_noise", "dropout", "gain", "offset", "spikes", "resolution"),
}
SEVERITIES = (1, 3, 5)
HEAD = """\
# Written by harness init. models/digits/validation.toml documents every setting.
schema = 1
"""


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of the file.

    Parameters
    ----------
    model, folder : Path
        The model as given, and the folder of the file to write.
    fmt : str
    reading : mapping
        Task, scored output and threshold: keys of ``[model]``.
    options : mapping
        Keys of ``[task]``.
    data : DataTable
        With paths as given.
    steps : mapping of input name to Preprocess
    shapes : mapping of input name to shape
    shift_kind : str
    variants : mapping of name to recipe
    about_int8 : str
        How its recipe was chosen, or why there is no int8 variant.
    gates : sequence of ProposedGate
    output_byte : int
        Size of the outputs of all samples of one case.
    """

    model: Path
    folder: Path
    fmt: str
    reading: Mapping[str, object]
    options: Mapping[str, Any]
    data: DataTable
    steps: Mapping[str, Preprocess]
    shapes: Mapping[str, tuple[int | None, ...]]
    shift_kind: str
    variants: Mapping[str, Sequence[Mapping[str, Any]]]
    about_int8: str
    gates: Sequence[ProposedGate]
    output_byte: int


def write(contents: Contents) -> str:
    """Return the text of the file."""
    blocks = [HEAD, _model(contents), _shapes(contents), _data(contents)]
    blocks += [_input(name, step) for name, step in contents.steps.items()]
    blocks += [_variants(contents), _shifts(contents), _suites(contents)]
    blocks += [_gate(gate) for gate in contents.gates]
    return "\n".join(block for block in blocks if block)


def _gate(gate: ProposedGate) -> str:
    values = {"name": gate.name, **gate.table}
    if not gate.commented:
        return _table("[[gate]]", values, {"max": gate.why, "min": gate.why} if gate.why else None)
    first, *lines = _table("[[gate]]", values).splitlines()
    return "\n".join([f"{f'# {first}':<32} # {gate.why}", *(f"# {line}" for line in lines)]) + "\n"


def _table(head: str, values: Mapping[str, Any], why: Mapping[str, str] | None = None) -> str:
    lines = [head]
    for key, value in values.items():
        line = f"{_key(key)} = {_value(value)}"
        lines.append(f"{line:<32} # {why[key]}" if why and key in why else line)
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _value(value: Any) -> str:  # noqa: ANN401 - whatever TOML holds
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_value(item)}" for name, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    # JSON's strings, numbers and booleans are TOML's.
    return json.dumps(value, ensure_ascii=False)


def _path(path: str | Path, folder: Path) -> str:
    """Return a path as the file in `folder` has to name it; links are kept as they were given.

    A path in `folder` is relative to it, so that the folder can be moved. Another one stays as it was given:
    absolute, or relative to `folder` instead of to the working folder.
    """
    # Unlike Path.resolve, abspath keeps links.
    absolute, root = (Path(os.path.abspath(place)) for place in (path, folder))  # noqa: PTH100
    if absolute.is_relative_to(root):
        return absolute.relative_to(root).as_posix()
    if not Path(path).is_absolute():
        relative = os.path.relpath(absolute, root)
        # The system follows links before "..", so from a linked folder this could be another place.
        if (root / relative).exists() and (root / relative).samefile(absolute):
            return Path(relative).as_posix()
    return str(absolute)


def _model(contents: Contents) -> str:
    name = re.sub(r"[^A-Za-z0-9_.+-]", "-", contents.model.stem).lstrip("_.+-")[:64] or "model"
    try:
        is_name(name)
    except ValueError:
        name = f"model-{name}"[:64]  # such as 007, which a reader of the tables would take for a number
    table: dict[str, Any] = {"name": name}
    if contents.fmt == "onnx":
        table["file"] = _path(contents.model, contents.folder)
    why = {
        "output": "the output that is scored",
        "threshold": "a score above it means class 1, or yes",
    }
    text = _table("[model]", {**table, **contents.reading}, why)
    return text + ("\n" + _table("[task]", contents.options) if contents.options else "")


def _shapes(contents: Contents) -> str:
    open_shapes = {name: shape for name, shape in contents.shapes.items() if None in shape[1:]}
    if not open_shapes or contents.fmt != "onnx":
        return ""
    lines = ["# [shapes]                       # fixes open dimensions; TFLite may need it"]
    lines += [
        f"# {_key(name)} = {_value(['?' if size is None else size for size in shape])}"
        for name, shape in open_shapes.items()
    ]
    return "\n".join(lines) + "\n"


def _data(contents: Contents) -> str:
    data = contents.data
    table = data.model_dump(exclude_defaults=True, exclude={"image", "audio", "split"})
    for source in (table, table.get("calibration", {})):
        source |= {key: _path(source[key], contents.folder) for key in ("path", "labels") if key in source}
    why = {"split": "how calibration samples are chosen: hash, first, none"}
    text = _table("[data]", table if data.calibration else {**table, "split": data.split}, why)
    if data.audio is not None:
        text += "\n" + _table("[data.audio]", data.audio.model_dump(exclude_defaults=True))
    if data.image is not None:
        image = data.image.model_dump(exclude_defaults=True)
        text += "\n" + _table("[data.image]", image or {"resize": data.image.resize})
    return text


def _input(name: str, step: Preprocess) -> str:
    default = Preprocess()
    changed = {key: value for key, value in step.to_json().items() if value != getattr(default, key)}
    if step.batch_axis is None:
        changed["batch_axis"] = "none"
    why = {
        "scale": "x = (raw * scale - mean) / std",
        "layout": "NCHW: last axis to the front",
        "batch_axis": "axis of the samples",
        "output_rows": "room for the rows that outputs have for a sample",
    }
    return _table(f"[input.{_key(name)}]", changed, why)


def _variants(contents: Contents) -> str:
    if contents.fmt != "onnx":
        return _table("[variants.float32]", {"files": {contents.fmt: _path(contents.model, contents.folder)}})
    if not contents.variants:
        return f"# [variants.int8]                # {contents.about_int8}\n"
    return f"# int8 {contents.about_int8}\n" + "\n".join(
        _table(f"[variants.{name}]", {"recipe": recipe}) for name, recipe in contents.variants.items()
    )


def _shifts(contents: Contents) -> str:
    if contents.shift_kind == "none":
        return _table("[shifts]", {"kind": "none"})
    table = {
        "kind": contents.shift_kind,
        "families": FAMILIES[contents.shift_kind],
        "severities": SEVERITIES,
    }
    return _table("[shifts]", table, {"severities": "of 1 to 5"})


def _suites(contents: Contents) -> str:
    cells = len(FAMILIES.get(contents.shift_kind, ())) * len(SEVERITIES)
    # The reference and two variants of a target; `clean` a second time in the parity setting.
    total_byte = contents.output_byte * (cells + 2) * 3
    text = "[suites.performance]\n[suites.accuracy]\n"
    if total_byte > KEEP_MOST_BYTE and tasks.named(str(contents.reading["task"])).reduces:
        text += f'keep = "reduced"                 # all outputs would take {total_byte / 1e9:.1f} GB\n'
    return text + "[suites.reliability]\n"
