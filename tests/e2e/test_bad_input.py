"""Each bad input ends in one message that says what to do, the right exit code, and nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.e2e.shell import ACCURACY, MakeModel, Shell, check, save_onnx

RNG = np.random.default_rng(1)
X = RNG.normal(size=(40, 8)).astype(np.float32)
LABELS = np.arange(40) % 4
IMAGES = RNG.integers(0, 255, (40, 8, 8, 3), dtype=np.uint8)
NO_SHIFTS = ('kind = "features"\nfamilies = ["gaussian_noise"]', 'kind = "none"')


def refused(harness: Shell, folder: Path, *says: str, code: int = 2) -> None:
    """``harness validate`` refuses the model's folder before it measures anything."""
    ended = harness("validate", "--model", folder, *ACCURACY)
    assert ended.err.startswith("harness: "), ended.err  # nothing was begun
    check(ended, code, *says)
    assert not harness.results.exists()
    assert not list(harness.cache.rglob(".tmp-*"))


# --- validation.toml -------------------------------------------------------------------------------------


def test_no_configuration(harness: Shell) -> None:
    refused(harness, harness.folder / "nowhere", "there is no", "nowhere", "harness init")


def test_a_model_is_no_configuration(harness: Shell, tiny: Path) -> None:
    refused(harness, tiny / "model.onnx", "a folder or a validation.toml is needed", "harness init")


def test_malformed_toml(harness: Shell, model: MakeModel) -> None:
    refused(harness, model(added="[[[\n"), "1 problem", "TOML", "line ", "validation.toml")


def test_every_problem_of_the_schema_at_once(harness: Shell, model: MakeModel) -> None:
    folder = model(
        ("schema = 1", "schema = 2"),
        ('name = "tiny"', 'name = "ti ny"\ntaks = "classification"'),
        ("calibration_samples = 50", "calibration_samples = 0\nsead = 1"),
        ('[{ pass = "quantize", calibration = "minmax" }]', '[{ calibration = "minmax" }]'),
        ("severities = [1, 3]", "severities = [1, 1]"),
        ("min = 0.9", 'min = "5 parsecs"\nmaxx = 3'),
        added='[shapes]\nx = [0, 8]\n[input.x]\nstd = [0.0]\ndtype = "floaty"\n',
    )
    refused(
        harness, folder, "12 problems", str(folder / "validation.toml"), "schema: ", "model.name: 'ti ny'",
        "model.taks: unknown key; did you mean task?", "data.calibration_samples: ",
        "data.sead: unknown key; did you mean seed?", "variants.int8.recipe[0]: has no pass",
        "shifts.severities: 1 appears twice", "input.x.std: ", "input.x.dtype: ", "shapes.x[0]: ",
        "gate[0].min ('accuracy'): '5 parsecs' is not a number with a unit",
        "gate[0].maxx ('accuracy'): unknown key; did you mean max?",
    )  # fmt: skip


def test_every_unknown_name_at_once(harness: Shell, model: MakeModel) -> None:
    folder = model(
        ('pass = "quantize"', 'pass = "quantise"'),
        ('suite = "accuracy"', 'suite = "acuracy"'),
        ('variant = "int8"', 'variant = "int9"'),
        ("gaussian_noise", "gausian_noise"),
        ("truncations", "truncatoins"),
        ('name = "loss"', 'name = "accuracy"'),
        added="[suites.perfomance]\n[variants.empty]\n",
    )
    refused(
        harness, folder, "8 problems", "variants.int8.recipe[0].pass: ", "did you mean 'quantize'",
        "gate[0].suite ('accuracy'): ", "did you mean 'accuracy'", "gate[1].variant ('accuracy'): ",
        "did you mean 'int8'",
        "shifts.families[0]: ", "did you mean 'gaussian_noise'", "suites.reliability.truncatoins: ",
        "suites.perfomance: ", "did you mean 'performance'", "variants.empty: ",
        "gate[1].name ('accuracy'): ",
    )  # fmt: skip


# --- the command line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "name", "nearest"),
    [
        ("--target", "cpuu", "did you mean 'cpu'?"),
        ("--variant", "int88", "did you mean 'int8'?"),
        ("--suite", "perfomance", "did you mean 'performance'?"),
        ("--target", "CPU", "did you mean 'cpu'?"),
        ("--target", ",", "names no target"),
        ("--target", "cpu,,tflite", "has an empty name between commas"),
    ],
)
def test_unknown_name(harness: Shell, tiny: Path, option: str, name: str, nearest: str) -> None:
    check(harness("validate", "--model", tiny, option, name), 2, nearest)
    assert not harness.results.exists()


@pytest.mark.parametrize("budget", ["5", "3x", "0s", "nans", "infs", "-3m", "s", " "])
def test_bad_budget(harness: Shell, tiny: Path, budget: str) -> None:
    check(harness("plan", "--model", tiny, f"--budget={budget}"), 2, "invalid duration", "use 90s, 3m or 1h")


def test_unknown_option(harness: Shell) -> None:
    ended = harness("validate", "--modle", "x")
    assert ended.code == 2
    assert "--modle" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("command", [("validate", "--resume"), ("judge",)])
def test_unknown_run(harness: Shell, command: tuple[str, ...]) -> None:
    check(harness(*command, "2031"), 2, "there is no run '2031'", "unique prefix")


def test_a_run_that_is_misspelt(harness: Shell) -> None:
    (harness.results / "20310101T000000-tiny-0000").mkdir(parents=True)
    (harness.results / "20310101T000000-tiny-0000" / "run.json").write_text("{}")
    check(harness("report", "latset"), 2, "there is no run 'latset'; did you mean 'latest'?")
    check(harness("judge", "20310101T000000-tniy-0000"), 2, "did you mean '20310101T000000-tiny-0000'?")


def test_run_of_a_newer_schema(harness: Shell) -> None:
    run = harness.results / "20310101T000000-tiny-0000"
    run.mkdir(parents=True)
    written = {"schema_version": 2, "versions": {"deployment-validation-harness": "9.1"}}
    (run / "run.json").write_text(json.dumps(written))
    for command in (("judge", "latest"), ("judge", run.name), ("validate", "--resume", str(run))):
        ended = harness(*command)
        expected_texts = (
            ("there is no run",) if "latest" in command else ("schema version 2", "reads 1", "version 9.1")
        )
        check(ended, 2, *expected_texts)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"schema_version": 1}'])
def test_run_that_is_damaged(harness: Shell, text: str) -> None:
    run = harness.results / "broken"
    run.mkdir(parents=True)
    (run / "run.json").write_text(text)
    check(harness("judge", "broken"), 2)


# --- targets ---------------------------------------------------------------------------------------------


def write_target(harness: Shell, text: str) -> None:
    (harness.folder / "targets").mkdir(exist_ok=True)
    (harness.folder / "targets" / "mine.toml").write_text('description = "mine"\n' + text)


def test_target_without_its_provider(harness: Shell, tiny: Path) -> None:
    write_target(harness, 'backends = ["onnxruntime"]\n[deploy]\nprovider = "CUDAExecutionProvider"\n')
    ended = harness("validate", "--model", tiny, "--target", "mine")
    check(ended, 3, "the target mine cannot run here", "no CUDAExecutionProvider", "pip install")
    assert not harness.results.exists()


def test_target_without_its_runtime(harness: Shell, tiny: Path) -> None:
    stub = harness.folder / "stub" / "openvino"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("raise ImportError('libopenvino.so.2640: cannot open shared object')")
    env = {"PYTHONPATH": str(stub.parent)}
    ended = harness("validate", "--model", tiny, "--target", "openvino", env=env)
    check(ended, 3, "the target openvino cannot run here", "libopenvino.so.2640", "[openvino]")
    assert not harness.results.exists()
    listed = harness("targets", env=env)
    assert listed.code == 0
    assert "libopenvino.so.2640" in listed.out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('backends = ["onnxruntim"]', ("unknown backend", "did you mean 'onnxruntime'", "target mine")),
        ('backends = ["onnxruntime"]\nexecutor = { kind = "lokal" }', ("executor", "did you mean 'local'")),
        ('backends = ["onnxruntime"]\nexecutor = { port = 1 }', ("executor: has no kind",)),
        ('backends = []\nmax_samples = 0\nbakends = 1\n[deploy]\nthreads = "1"',
         ("4 problems", "backends: ", "max_samples: ", "bakends: unknown key", "deploy.threads: ")),
        ('backends = ["onnxruntime", "onnxruntime"]', ("'onnxruntime' appears twice",)),
    ],
)  # fmt: skip
def test_bad_target(harness: Shell, tiny: Path, text: str, says: tuple[str, ...]) -> None:
    write_target(harness, text)
    check(harness("validate", "--model", tiny, "--target", "mine"), 2, *says)
    assert not harness.results.exists()


def test_reserved_target(harness: Shell, tiny: Path) -> None:
    write_target(harness, 'backends = ["onnxruntime"]')
    (harness.folder / "targets" / "mine.toml").rename(harness.folder / "targets" / "host.toml")
    check(harness("validate", "--model", tiny, "--target", "host"), 2, "a target must not be called host")


# --- models ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bytes_left", [0, 1, 500, -3])
def test_model_cut_off(harness: Shell, model: MakeModel, bytes_left: int) -> None:
    file = model() / "model.onnx"
    file.write_bytes(file.read_bytes()[:bytes_left])
    refused(harness, file.parent, "model.onnx", str(file), "export or copy the file again")


def test_model_of_another_kind(harness: Shell, model: MakeModel) -> None:
    folder = model()
    (folder / "model.onnx").write_text("<html>404</html>\n" * 30)
    refused(harness, folder, "is not an ONNX model", "export or copy the file again")


def test_model_missing(harness: Shell, model: MakeModel) -> None:
    folder = model()
    (folder / "model.onnx").unlink()
    refused(harness, folder, "no such model file", "model.file")


def test_model_of_another_hash(harness: Shell, model: MakeModel) -> None:
    folder = model(('file = "model.onnx"', f'file = "model.onnx"\nsha256 = "{"0" * 64}"'))
    refused(harness, folder, "has the hash", "000000000000… is recorded", "model.sha256 = ")


def test_prebuilt_of_another_hash(harness: Shell, model: MakeModel) -> None:
    files = f'files = {{ onnx = "model.onnx" }}\nsha256 = {{ onnx = "{"1" * 64}" }}'
    folder = model(('recipe = [{ pass = "quantize", calibration = "minmax" }]', files))
    ended = harness("validate", "--model", folder, "--suite", "accuracy")
    check(ended, 2, "111111111111… is recorded", "put the old file back")


def external(path: Path, location: str, *, keep: int | None = None) -> None:
    """Move the weights of a model out of its file."""
    loaded = onnx.load(path)
    moved = b""
    for tensor in loaded.graph.initializer:
        entries = {"location": location, "offset": str(len(moved)), "length": str(len(tensor.raw_data))}
        moved += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(loaded.SerializeToString())
    if keep != 0:
        (path.parent / location).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / location).write_bytes(moved[:keep])


@pytest.mark.parametrize(
    ("location", "keep", "says"),
    [
        ("../weights.bin", None, "outside the model's folder"),
        ("/etc/hostname", 0, "outside the model's folder"),
        ("weights.bin", 0, "the external data weights.bin are missing"),
        ("weights.bin", 50, "is not a valid ONNX model"),
    ],
)
def test_external_data(harness: Shell, model: MakeModel, location: str, keep: int | None, says: str) -> None:
    folder = model()
    external(folder / "model.onnx", location, keep=keep)
    refused(harness, folder, says)


def test_external_data_behind_a_symlink(harness: Shell, model: MakeModel) -> None:
    folder = model()
    external(folder / "model.onnx", "weights.bin")
    (folder / "weights.bin").rename(folder.parent / "elsewhere.bin")
    (folder / "weights.bin").symlink_to("../elsewhere.bin")
    refused(harness, folder, "outside the model's folder")


# --- data ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": X.repeat(2, axis=1), "labels": LABELS}, ("needs samples of shape [8]", "they have [16]")),
        ({"x": X[:, :, None], "labels": LABELS}, ("they have [8, 1]", "set [input.x] shape = [8]")),
        ({"z": X, "w": X}, ("there is no array for the input 'x'", "the arrays are z, w")),
        ({"x": X, "labels": LABELS + 1}, ("outside 0..3", "classes counted from 1?")),
        ({"x": X, "labels": LABELS - 1}, ("outside 0..3",)),
        ({"x": X, "labels": LABELS[:-3]}, ("'x' has 40, labels has 37",)),
        ({"x": X, "labels": LABELS + 0.5}, ("whole numbers", "regression")),
        ({"x": X[:0], "labels": LABELS[:0]}, ("the data set is empty",)),
        ({"x": np.where(X > 1, np.nan, X), "labels": LABELS}, ("is not finite",)),
        ({"x": X.astype(str), "labels": LABELS}, ("must be numeric",)),
        ({"x": np.array([{}] * 40, dtype=object), "labels": LABELS}, ("pickled", "not loaded")),
        ({"x": X[:1], "labels": LABELS[:1]}, ("cannot be split",)),
    ],
)
def test_data(harness: Shell, model: MakeModel, arrays: dict[str, np.ndarray], says: tuple[str, ...]) -> None:
    refused(harness, model(**arrays), *says)


@pytest.mark.parametrize("bytes_left", [0, 10, -100])
def test_archive_cut_off(harness: Shell, model: MakeModel, bytes_left: int) -> None:
    file = model() / "data.npz"
    file.write_bytes(file.read_bytes()[:bytes_left])
    refused(harness, file.parent, "data.npz", str(file))


def test_data_missing(harness: Shell, model: MakeModel) -> None:
    folder = model()
    (folder / "data.npz").unlink()
    refused(harness, folder, "data.npz does not exist")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('dtype = "int64"', ('the model takes float32: set dtype = "float32"',)),
        ("mean = [1.0, 2.0, 3.0]", ("input.x.mean: has 3 values", "give 1 or 8")),
        ("shape = [3, 5]", ("input.x.shape: [3, 5] does not fit the 8 values",)),
        ("shape = [2, 4]", ("needs samples of shape [8]", "they have [2, 4]")),
        ('[input.image]\nlayout = "NCHW"', ("input.image: the model has no such input (it has x)",)),
    ],
)
def test_preprocessing(harness: Shell, model: MakeModel, table: str, says: tuple[str, ...]) -> None:
    refused(harness, model(added=f"[input.x]\n{table}\n", x=X, labels=LABELS), *says)


@pytest.mark.parametrize(
    ("images", "table", "advice"),
    [
        (IMAGES, "", 'set [input.x] layout = "NCHW"'),
        (np.moveaxis(IMAGES, -1, 1), 'layout = "NCHW"', 'set [input.x] layout = "same"'),
        (IMAGES[..., :1], 'layout = "NCHW"', "use samples with 3 channels on the last axis"),
        (IMAGES.repeat(2, axis=1), 'layout = "NCHW"', "[data.image] size = [8, 8]"),
    ],
)
def test_images(harness: Shell, model: MakeModel, images: np.ndarray, table: str, advice: str) -> None:
    folder = model(NO_SHIFTS, added=f"[input.x]\n{table}\n", x=images, labels=LABELS)
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Flatten", ["c"], ["y"])]
    save_onnx(folder / "model.onnx", nodes, ["n", 3, 8, 8], {"w": np.ones((4, 3, 8, 8), np.float32)})
    refused(harness, folder, "needs samples of shape [3, 8, 8]", advice)


@pytest.mark.parametrize(
    ("callable_", "says"),
    [
        ("nowhere:data", ("No module named 'nowhere'", "package.module:function")),
        ("json:nothing", ("nothing", "package.module:function")),
        ("json:loads", ("the loader failed: TypeError",)),
        ("os:getpid", ("the loader returned int", "Dataset or Split")),
    ],
)
def test_callable(harness: Shell, model: MakeModel, callable_: str, says: tuple[str, ...]) -> None:
    refused(harness, model(('path = "data.npz"', f'callable = "{callable_}"')), *says)


def test_no_calibration_samples(harness: Shell, model: MakeModel) -> None:
    folder = model(NO_SHIFTS, ("calibration_samples = 50", 'split = "none"'))
    ended = harness("validate", "--model", folder, "--suite", "accuracy")
    check(ended, 2, "no calibration samples for the variant int8", "data.split")
