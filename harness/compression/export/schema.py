"""The classes of the TFLite schema, and the serialisation of a file."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from harness.core.commands import install
from harness.core.errors import TargetUnavailable


def load_schema() -> ModuleType:
    """Return the generated schema, which needs flatbuffers and numpy but no interpreter."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise TargetUnavailable(
            "the TFLite writer needs the TFLite schema, which is not installed",
            where="ai_edge_litert.schema_py_generated",
            cause=str(error),
            next_step=install("host,tflite"),
        ) from error
    return schema_py_generated  # type: ignore[no-any-return,unused-ignore]


class AlignedBuffer:
    """A buffer of constant data with the alignment that TFLite's kernels need, 16 bytes."""

    def __init__(self, schema: ModuleType, data: bytes = b"") -> None:
        self._schema = schema
        self.data = data

    def Pack(self, builder: Any) -> int:  # noqa: ANN401, N802 - the name in the object API of flatbuffers
        """Write the buffer; called by the object API."""
        vector = None
        if self.data:
            builder.StartVector(1, len(self.data), 16)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
            vector = builder.EndVector()
        self._schema.BufferStart(builder)
        if vector is not None:
            self._schema.BufferAddData(builder, vector)
        return int(self._schema.BufferEnd(builder))


def tensor_type(schema: ModuleType, dtype: np.dtype[Any]) -> int:
    """Return the schema's number of a dtype."""
    return int(getattr(schema.TensorType, dtype.name.upper()))


def serialise(model: Any) -> bytes:  # noqa: ANN401 - a generated class without types
    """Return the bytes of a ``ModelT``."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
