"""The conformance kit: what every backend must do, as a class to subclass.

::

    class TestMine(BackendConformance):
        backend = MyBackend

        def artifact_for(self, model, folder): ...   # if it does not open ONNX

Expected outputs come from numpy. A known failure is listed in ``expected_failures`` with its reason; one that
passes, and a name that no test has, are errors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from harness.core.artifact import Artifact
from harness.core.contracts import Backend
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.testing.binding import BindingConformance
from harness.testing.models import AFFINE, FLATTEN, KNOWN_MODELS, RELU, TWO_INPUTS, KnownModel, write_artifact
from harness.testing.opened import MISTAKES, Opened


class BackendConformance(BindingConformance):
    """Subclass it under a name that starts with ``Test``.

    Attributes
    ----------
    backend : type
        The backend, or a callable that makes one.
    options : Options
        One thread, float32.
    tolerance : float
        Absolute and relative, of results near 1.
    expected_failures : mapping of test name to reason
    """

    backend: ClassVar[Callable[[], Backend]]
    options: ClassVar[Options] = Options(threads=1, precision="f32")
    tolerance: ClassVar[float] = 1e-5
    expected_failures: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, reason in cls.expected_failures.items():
            test = getattr(cls, name, None)
            if not name.startswith("test_") or not callable(test):
                raise TypeError(f"{cls.__name__}.expected_failures names {name}, not a test of the kit")
            setattr(cls, name, pytest.mark.xfail(reason=reason, strict=True)(_copy(test)))

    def artifact_for(self, model: Any, folder: Path) -> Artifact:  # noqa: ANN401 - onnx.ModelProto
        """Write an ``onnx.ModelProto`` as a file that the backend opens; override it for another format."""
        return write_artifact(model.SerializeToString(), folder, "model.onnx")

    # Helpers

    def _artifact(self, model: KnownModel, folder: Path) -> Artifact:
        subfolder = folder / model.name
        subfolder.mkdir(exist_ok=True)
        return self.artifact_for(model.to_onnx(), subfolder)

    def _open(self, model: KnownModel, folder: Path, options: Options | None = None) -> Opened:
        artifact = self._artifact(model, folder)
        return Opened(model, artifact, type(self).backend().open(artifact, options or self.options))

    @pytest.fixture
    def affine(self, tmp_path: Path) -> Iterator[Opened]:
        """The model that most tests use."""
        with self._open(AFFINE, tmp_path) as opened:
            yield opened

    # Its description

    def test_probe_says_version_and_devices(self) -> None:
        """It can run here, or the kit would not be run."""
        availability = type(self).backend().probe()
        assert availability.version
        assert availability.devices
        assert not availability.reason

    def test_specs_describe_the_model(self, tmp_path: Path) -> None:
        """Names, dtypes and shapes, with None for the batch."""
        with self._open(TWO_INPUTS, tmp_path) as opened:
            inputs, outputs = opened.session.inputs, opened.session.outputs
        assert sorted(spec.shape for spec in inputs) == [(None, 3), (None, 4)]
        assert [spec.shape for spec in outputs] == [(None, 3)]
        assert {spec.name for spec in inputs} == set(TWO_INPUTS.inputs)  # those of the file, not of its nodes
        assert [spec.name for spec in outputs] == [TWO_INPUTS.output]
        assert {spec.dtype for spec in inputs + outputs} == {"float32"}
        assert {spec.quantization for spec in inputs + outputs} == {None}

    def test_effective_is_what_was_asked_for(self, affine: Opened) -> None:
        """Provider, precision and threads."""
        effective = affine.session.effective
        assert effective["provider"]
        assert effective["precision"] == "f32"
        assert effective["threads"] == "1"

    def test_default_options_open(self, tmp_path: Path) -> None:
        """The runtime's default choice is reported too."""
        with self._open(AFFINE, tmp_path, Options()) as opened:
            assert all(opened.session.effective[key] for key in ("provider", "precision", "threads"))

    # Numbers

    @pytest.mark.parametrize("model", KNOWN_MODELS, ids=lambda model: model.name)
    @pytest.mark.parametrize("samples", [1, 7])
    def test_results_agree_with_numpy(self, model: KnownModel, samples: int, tmp_path: Path) -> None:
        """One sample and several."""
        feeds = model.feeds(samples)
        with self._open(model, tmp_path) as opened:
            self._agree(opened.run(feeds), model.oracle(feeds))

    def test_batch_may_change(self, affine: Opened) -> None:
        """Up, down and back."""
        for samples in (3, 1, 8, 3):
            feeds = AFFINE.feeds(samples, seed=samples)
            self._agree(affine.run(feeds), AFFINE.oracle(feeds))

    def test_repeats_are_equal_bit_by_bit(self, affine: Opened) -> None:
        """In one session."""
        feeds = AFFINE.feeds(4)
        first, *others = (affine.run(feeds).tobytes() for _ in range(5))
        assert all(other == first for other in others)

    def test_sessions_are_equal_bit_by_bit(self, affine: Opened, tmp_path: Path) -> None:
        """In two sessions of one file."""
        feeds = AFFINE.feeds(4)
        with self._open(AFFINE, tmp_path) as other:
            assert affine.run(feeds).tobytes() == other.run(feeds).tobytes()

    def test_two_sessions_do_not_meet(self, affine: Opened, tmp_path: Path) -> None:
        """Two models, in turns."""
        with self._open(RELU, tmp_path) as other:
            for seed in range(3):
                feeds, feeds_other = AFFINE.feeds(2, seed), RELU.feeds(2, seed)
                self._agree(affine.run(feeds), AFFINE.oracle(feeds))
                self._agree(other.run(feeds_other), RELU.oracle(feeds_other))

    def test_nan_is_not_hidden(self, affine: Opened) -> None:
        """It reaches the row's outputs, and no other row's."""
        self._spoil_a_row(affine, np.nan)

    @pytest.mark.parametrize("value", [np.inf, -np.inf])
    def test_infinity_is_not_hidden(self, affine: Opened, value: float) -> None:
        """It reaches the row's outputs, and no other row's."""
        self._spoil_a_row(affine, value)

    def _spoil_a_row(self, affine: Opened, value: float) -> None:
        feeds = AFFINE.feeds(3)
        clean = AFFINE.oracle(feeds)
        feeds["x"][1, 0] = value
        output = affine.run(feeds)
        assert not np.isfinite(output[1]).any()  # no weight of x[0] is zero
        self._agree(output[[0, 2]], clean[[0, 2]])

    # Ownership of arrays

    @pytest.mark.parametrize("model", [AFFINE, FLATTEN], ids=lambda model: model.name)
    def test_outputs_belong_to_the_caller(self, model: KnownModel, tmp_path: Path) -> None:
        """The next run does not overwrite them, and they can be written to."""
        first, second = model.feeds(2, seed=1), model.feeds(2, seed=2)
        with self._open(model, tmp_path) as opened:
            output = opened.run(first)
            self._agree(opened.run(second), model.oracle(second))
            self._agree(output, model.oracle(first))
            output[...] = 0
            self._agree(opened.run(first), model.oracle(first))
        assert not output.any()

    @pytest.mark.parametrize("model", [AFFINE, FLATTEN, RELU], ids=lambda model: model.name)
    def test_inputs_belong_to_the_caller(self, model: KnownModel, tmp_path: Path) -> None:
        """They are not written to, and later changes of them do not reach the outputs."""
        feeds = model.feeds(2)
        expected, before = model.oracle(feeds), {name: array.copy() for name, array in feeds.items()}
        with self._open(model, tmp_path) as opened:
            output = opened.run(feeds)
            for name, array in feeds.items():
                np.testing.assert_array_equal(array, before[name])
                array[...] = 9
            self._agree(output, expected)

    @pytest.mark.parametrize("layout", ["fortran", "strided", "reversed", "read_only"])
    def test_any_layout_in_memory(self, affine: Opened, layout: str) -> None:
        """Arrays that are not contiguous, or are read-only, are read correctly."""
        x = AFFINE.feeds(4)["x"]
        expected = AFFINE.oracle({"x": x})
        if layout == "fortran":
            x = np.asfortranarray(x)
        elif layout == "strided":
            x = np.repeat(x, 2, axis=0)[::2]
        elif layout == "reversed":
            x = x[::-1].copy()[::-1]
        else:
            x.flags.writeable = False
        self._agree(affine.run({"x": x}), expected)

    # Refusals

    @pytest.mark.parametrize("mistake", MISTAKES)
    @pytest.mark.parametrize("model", [AFFINE, TWO_INPUTS], ids=lambda model: model.name)
    def test_mistake_is_refused_and_harms_nothing(
        self, model: KnownModel, mistake: str, tmp_path: Path
    ) -> None:
        """Wrong names, shapes and dtypes raise BackendError; a correct call afterwards works."""
        feeds = model.feeds(2)
        with self._open(model, tmp_path) as opened:
            for _ in range(2):  # before the first run, and after one
                with pytest.raises(BackendError):
                    opened.session.run(MISTAKES[mistake](opened.file_feeds(feeds)))
                self._agree(opened.run(feeds), model.oracle(feeds))

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
    def test_truncated_file_is_refused(self, share: float, tmp_path: Path) -> None:
        """At open, with a BackendError."""
        artifact = self._artifact(AFFINE, tmp_path)
        data = artifact.path.read_bytes()
        artifact.path.write_bytes(data[: int(len(data) * share)])
        self._refused(artifact, self.options)

    def test_missing_file_is_refused(self, tmp_path: Path) -> None:
        """At open."""
        artifact = self._artifact(AFFINE, tmp_path)
        artifact.path.unlink()
        self._refused(artifact, self.options)

    def test_other_format_is_refused(self, tmp_path: Path) -> None:
        """A file of another format is not opened."""
        self._refused(replace(self._artifact(AFFINE, tmp_path), format="unheard-of"), self.options)

    @pytest.mark.parametrize(
        "requested",
        [
            {"provider": "NoSuchProvider"},
            {"precision": "f7"},
            {"extra": {"no_such_option": "1"}},
            {"extra": {"no.such.option": "1"}},
        ],
        ids=["provider", "precision", "option", "dotted_option"],
    )
    def test_what_cannot_be_had_is_refused(self, requested: dict[str, Any], tmp_path: Path) -> None:
        """Nothing else is opened instead, and no option is ignored."""
        self._refused(self._artifact(AFFINE, tmp_path), replace(self.options, **requested))

    def _refused(self, artifact: Artifact, options: Options) -> None:
        with pytest.raises(BackendError):
            type(self).backend().open(artifact, options)

    def test_closed_session_is_refused(self, tmp_path: Path) -> None:
        """After the ``with`` block a run raises BackendError."""
        with self._open(AFFINE, tmp_path) as opened:
            pass
        with pytest.raises(BackendError):
            opened.run(AFFINE.feeds(1))


def _copy(test: Callable[..., None]) -> Callable[..., None]:
    """Copy a test, so that a mark on it does not reach the base class."""

    @functools.wraps(test)
    def copied(*arguments: Any, **named: Any) -> None:  # noqa: ANN401 - passed on
        test(*arguments, **named)

    copied.pytestmark = list(getattr(test, "pytestmark", []))  # type: ignore[attr-defined]
    return copied
