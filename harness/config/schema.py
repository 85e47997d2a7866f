"""Tables of a ``validation.toml`` about data and shifts, the search table, and recipe files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.config.fields import Divisors, Dtype, Families, FileNames, Limit, Means, Severities, Size, Step

#: Name or position of a column.
Column = Annotated[str, Field(min_length=1)] | int


def as_columns(columns: str | int | tuple[str | int, ...] | None) -> tuple[str | int, ...]:
    """Return one column, several or none as a tuple."""
    if columns is None:
        return ()
    return columns if isinstance(columns, tuple) else (columns,)


#: Largest data file, and largest size of the arrays made from it, unless ``[data] max_bytes`` is set.
MAX_BYTES = 4_000_000_000


class Table(BaseModel):
    """A frozen table with strict types that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ImageTable(Table):
    """``[data.image]``: how files are decoded and resized on the host (see ``harness.data.images``)."""

    size: tuple[Size, Size] | None = None
    resize: Literal["none", "stretch", "cover", "contain"] = "none"
    method: Literal["nearest", "bilinear", "bicubic", "lanczos", "box"] = "bilinear"
    antialias: bool = True
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    pad: Annotated[int, Field(ge=0, le=255)] = 0
    colour: Literal["RGB", "BGR", "L"] = "RGB"


class AudioTable(Table):
    """``[data.audio]``: how audio files are cut into windows (see ``harness.data.audio.files``)."""

    rate_hz: Size
    window_samples: Size
    hop_samples: Size | None = None
    channels: Literal["one", "first", "mean"] = "one"


class SourceTable(Table):
    """The source of samples."""

    callable: str = ""
    path: str = ""
    labels: str = ""
    format: Literal[
        "auto", "npz", "npy", "idx", "image-folder", "image-csv", "coco", "yolo", "yolo-yaml", "voc",
        "box-csv", "audio-folder", "audio-csv", "audio-events", "csv", "parquet",
    ] = "auto"  # fmt: skip
    label_column: Column | tuple[Column, ...] | None = None
    header: bool | None = None
    skip: FileNames = ()


class DataTable(SourceTable):
    """``[data]``: the test data, and how calibration samples are chosen."""

    calibration: SourceTable | None = None
    split: Literal["hash", "first", "none"] = "hash"
    calibration_samples: Annotated[int, Field(ge=1, le=100_000)] = 200
    max_samples: Size | None = None
    seed: int = 0
    image: ImageTable | None = None
    audio: AudioTable | None = None
    class_order: Literal["numeric", "alphabetical"] = "numeric"
    ignore: tuple[Column, ...] = ()
    missing: Literal["drop"] | float | None = None
    max_bytes: Size = MAX_BYTES
    group: Column | None = None
    time: Column | None = None
    windows: Annotated[int, Field(ge=2, le=50)] = 5
    sequence: Column | None = None

    @model_validator(mode="after")
    def _one_source(self) -> DataTable:
        if bool(self.callable) == bool(self.path):
            raise ValueError("give either callable or path")
        if self.windows != DataTable.model_fields["windows"].default and self.time is None:
            raise ValueError('windows divides the times of a column: name it with time = "column"')
        for key in ("group", "time", "sequence"):
            column = getattr(self, key)
            if column is not None and column in as_columns(self.label_column):
                raise ValueError(f"{key} and label_column name the same column, {column!r}")
        return self


class InputTable(Table):
    """``[input.NAME]``: preprocessing from raw samples to a model input, on every device."""

    scale: float = 1.0
    mean: Means = (0.0,)
    std: Divisors = (1.0,)
    reverse_channels: bool = False
    layout: Literal["NCHW", "NHWC", "same"] = "same"
    dtype: Dtype = "float32"
    shape: tuple[Size, ...] = ()
    batch_axis: Annotated[int, Field(ge=0)] | Literal["none"] = 0
    output_rows: Annotated[int, Field(ge=0)] = 0
    value: float | None = None
    state: str = ""

    @model_validator(mode="after")
    def _constant(self) -> InputTable:
        others = sorted(self.model_dump(exclude_defaults=True).keys() - {"value", "state"})
        if (self.value is not None or self.state) and others:
            key = "state" if self.state else "value"
            raise ValueError(f"an input with a {key} has no samples, so it cannot have {', '.join(others)}")
        if self.output_rows and self.batch_axis != "none":
            raise ValueError('output_rows is for outputs of one sample a call: set batch_axis = "none"')
        return self


class ShiftsTable(Table):
    """``[shifts]``: shifted copies of the test data.

    ``features`` is a table, or a series where a sample has a time axis. ``rate_hz`` are the samples a second
    of a series or of sound, for families that need them. With ``quick = false`` shifted copies are made with
    the profile ``standard`` alone. ``sets`` is a folder with shifted data of the user's own (see
    ``harness.data.shifts.given``).
    """

    kind: Literal["image", "features", "table", "series", "audio", "none"] = "none"
    families: Families = ()
    severities: Severities = (1, 2, 3, 4, 5)
    seed: int = 0
    sets: str = ""
    quick: bool = True
    rate_hz: Annotated[float, Field(gt=0)] | None = None


class SearchTable(Table):
    """``[search]``: the accuracy budget of ``harness search`` and its steps, mild to aggressive."""

    max_loss: Limit = "1 pt"
    steps: Annotated[tuple[Step, ...], Field(min_length=1)] = (
        {"pass": "weight_only", "bits": 8},
        {"pass": "cluster", "k": 16},
        {"pass": "cluster", "k": 8},
        {"pass": "cluster", "k": 4},
        {"pass": "cluster", "k": 2},
    )
    minimise: Literal["bytes", "gzip"] = "bytes"
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.5


class RecipeFile(Table):
    """A TOML file with only a recipe, for ``harness compress --recipe FILE``."""

    recipe: Annotated[tuple[Step, ...], Field(min_length=1)]
