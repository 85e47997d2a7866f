"""``harness compress``: files and a card, the same bytes from the card, clear words for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from harness.core.artifact import sha256_file
from tests.e2e.shell import SAMPLES, MakeModel, Shell, check

RECIPE = 'recipe = [{ pass = "prune", sparsity = 0.5, refit = false }, { pass = "quantize" }]\n'


def card_of(folder: Path) -> dict[str, object]:
    card = json.loads((folder / "card.json").read_text())
    assert isinstance(card, dict)
    return card


def test_files_and_card(harness: Shell, tiny: Path) -> None:
    ended = harness("compress", tiny, "--recipe", "int8", "-o", "made")
    assert ended.code == 0, ended.err
    made = harness.folder / "made"
    assert sorted(path.name for path in made.iterdir()) == ["card.json", "int8.onnx", "int8.tflite"]
    card = card_of(made)
    for fmt in ("onnx", "tflite"):
        file = card["files"][fmt]  # type: ignore[index]
        assert file["sha256"] == sha256_file(made / file["name"])
        assert file["size_byte"] == (made / file["name"]).stat().st_size
    assert {entry["name"] for entry in card["classes"]} <= {"0", "1", "2", "3"}  # type: ignore[attr-defined]
    assert sum(entry["n"] for entry in card["classes"]) == SAMPLES - 50  # type: ignore[attr-defined]
    assert "x float32" in ended.out
    assert "reading model and data" in ended.err


def test_a_card_gives_the_same_bytes_in_another_cache(harness: Shell, tiny: Path) -> None:
    (harness.folder / "mine.toml").write_text(RECIPE)
    assert harness("compress", tiny, "--recipe", "mine.toml", "-o", "made").code == 0
    elsewhere = {"HARNESS_CACHE": str(harness.folder / "other-cache")}
    ended = harness("compress", "--from", "made/card.json", "-o", "again", env=elsewhere)
    assert ended.code == 0, ended.err
    assert "mine: prune" in ended.err
    for name in ("mine.onnx", "mine.tflite"):
        assert sha256_file(harness.folder / "made" / name) == sha256_file(harness.folder / "again" / name)


def test_two_models_of_one_content_and_two_names(harness: Shell, tiny: Path, model: MakeModel) -> None:
    # The TFLite file holds the model's name: neither the cache nor a rebuild may take one for the other.
    other = model(('name = "tiny"', 'name = "other"'))
    for folder, out in ((tiny, "a"), (other, "b")):
        assert harness("compress", folder, "--recipe", "int8", "-o", out).code == 0
    files = [harness.folder / out / "int8.tflite" for out in ("a", "b")]
    assert sha256_file(files[0]) != sha256_file(files[1])
    elsewhere = {"HARNESS_CACHE": str(harness.folder / "other-cache")}
    ended = harness("compress", tiny, "--from", "b/card.json", "-o", "again", env=elsewhere)
    assert ended.code == 0, ended.err
    assert sha256_file(harness.folder / "again" / "int8.tflite") == sha256_file(files[1])


def test_steps_that_were_made_are_not_made_again(harness: Shell, tiny: Path) -> None:
    (harness.folder / "one.toml").write_text(RECIPE)
    (harness.folder / "two.toml").write_text(RECIPE.replace('"quantize"', '"quantize", calibration = "mse"'))
    environment_ = {"HARNESS_CACHE": str(harness.folder / "own-cache")}
    assert "one: prune" in harness("compress", tiny, "--recipe", "one.toml", "-o", "1", env=environment_).err
    ended = harness("compress", tiny, "--recipe", "two.toml", "-o", "2", env=environment_)
    assert ended.code == 0
    assert "prune" not in ended.err
    assert "two: quantize" in ended.err


def test_a_card_of_another_model_is_refused(harness: Shell, tiny: Path, model: MakeModel) -> None:
    assert harness("compress", tiny, "--recipe", "int8", "-o", "made").code == 0
    other = model()
    changed = onnx.load(other / "model.onnx")
    changed.doc_string = "another"
    onnx.save(changed, other / "model.onnx")
    ended = harness("compress", other, "--from", "made/card.json", "-o", "again")
    check_words(ended, "the model has the hash")
    assert not (harness.folder / "again").exists()


def test_a_card_whose_hash_was_edited_is_refused(harness: Shell, tiny: Path) -> None:
    assert harness("compress", tiny, "--recipe", "int8", "-o", "made").code == 0
    path = harness.folder / "made" / "card.json"
    path.write_text(path.read_text().replace(str(card_of(path.parent)["files"]["onnx"]["sha256"]), "0" * 64))  # type: ignore[index]
    ended = harness("compress", "--from", path, "-o", "again")
    check_words(ended, "the card has 000000000000…")
    assert not (harness.folder / "again").exists()


def check_words(ended: object, *says: str) -> None:
    assert ended.code == 2, ended.err  # type: ignore[attr-defined]
    assert "Traceback" not in ended.err  # type: ignore[attr-defined]
    for text in says:
        assert text in ended.err  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--recipe", "int9"), "unknown recipe 'int9'; did you mean 'int8'?"),
        (("--recipe", "int8", "--format", "tflit"), "unknown format 'tflit'"),
        (("--recipe", "int8", "--for-runtime", "tflite-3"), "did you mean 'tflite-2.14'?"),
        (("--recipe", "int8-dynamic", "--format", "tflite"), "does not support DynamicQuantizeLinear"),
        (("--recipe", "absent.toml"), "there is no such file"),
        (("--from", "absent.json"), "not the card of a variant"),
    ],
)
def test_what_cannot_be_leaves_nothing(
    harness: Shell, tiny: Path, options: tuple[str, ...], says: str
) -> None:
    check_words(harness("compress", tiny, *options, "-o", "made"), says)
    assert not list(harness.folder.iterdir())


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ('{ pass = "prune", sparsity = 1.0 }', "must be a number in [0, 1)"),
        ('{ pass = "cluster", k = 0 }', "must be a whole number of at least 1"),
        ('{ pass = "symbols", n = 1 }', "n"),
        ('{ pass = "squeeze" }', "unknown pass 'squeeze'"),
        ('{ pass = "quantize" }, { pass = "prune" }', "the model is quantized already"),
    ],
)
def test_bad_steps(harness: Shell, tiny: Path, step: str, says: str) -> None:
    (harness.folder / "bad.toml").write_text(f"recipe = [{step}]\n")
    check_words(harness("compress", tiny, "--recipe", "bad.toml", "-o", "made"), says)
    assert not (harness.folder / "made").exists()


def test_a_folder_with_other_files_is_not_touched(harness: Shell, tiny: Path) -> None:
    (harness.folder / "made").mkdir()
    (harness.folder / "made" / "thesis.txt").write_text("mine")
    check(harness("compress", tiny, "--recipe", "int8", "-o", "made"), 2, "is not empty")
    assert [path.name for path in (harness.folder / "made").iterdir()] == ["thesis.txt"]


def test_a_run_has_the_cards_and_their_rows(harness: Shell, tiny: Path) -> None:
    assert harness("validate", "--model", tiny, "--suite", "accuracy").code == 0
    (run,) = (path for path in harness.results.iterdir() if not path.is_symlink())
    card = json.loads((run / "cards" / "int8.json").read_text())
    assert sum(entry["n"] for entry in card["classes"]) == SAMPLES - 50
    table = (run / "measurements.csv").read_text()
    assert f",int8,{card['files']['onnx']['sha256']},compression,model,0,gzip_byte_ratio," in table
    before = {path.name: path.read_bytes() for path in (run / "cards").iterdir()}
    assert harness("judge", "latest").code == 0
    assert {path.name: path.read_bytes() for path in (run / "cards").iterdir()} == before


def test_a_gate_can_ask_for_bytes(harness: Shell, model: MakeModel) -> None:
    folder = model(
        added='[[gate]]\nname = "small"\nsuite = "compression"\nmetric = "file_byte_ratio"\ncase = "model"\n'
        'variant = "int8"\nmax = 0.01\n'
    )
    ended = harness("validate", "--model", folder, "--suite", "accuracy")
    assert ended.code == 1
    assert "small: int8 on cpu: file_byte_ratio in model is" in ended.out


def test_a_recipe_that_another_variant_has_run_gives_files_of_its_own_name(
    harness: Shell, tiny: Path
) -> None:
    """Both have the same bytes, which are in the cache once."""
    for name in ("first", "second"):
        (harness.folder / f"{name}.toml").write_text('recipe = [{ pass = "quantize" }]\n')
        ended = harness("compress", tiny, "--recipe", f"{name}.toml", "-o", name)
        assert ended.code == 0, ended.err
        made = {path.name for path in (harness.folder / name).iterdir()}
        assert made == {"card.json", f"{name}.onnx", f"{name}.tflite"}
    first, second = ((harness.folder / name / f"{name}.onnx").read_bytes() for name in ("first", "second"))
    assert first == second
