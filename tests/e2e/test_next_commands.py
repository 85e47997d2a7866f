"""Every command that a message offers under ``next`` is pasted into a shell, where it was printed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.shell import ACCURACY, MakeModel, Shell
from tests.e2e.test_search import VALIDATION, wide

__all__ = ["wide"]  # a fixture

#: ``next   COMMAND`` or ``next: COMMAND``; a remark may follow after #.
NEXT = re.compile(r"^\s*next:? +(.*)$", re.MULTILINE)
#: The first word of a command, as opposed to a sentence.
COMMAND = re.compile(r"^(\S*/)?(harness|pip|python[\d.]*|make|ssh)\b")
#: What a reader has to fill in.
PLACEHOLDER = re.compile(r"\b(MODEL|PATH|DIR|WHY|BASE|NEW|RUN|T|FOLDER|MODEL\.onnx)\b")
#: Exit codes that say nothing against the command itself: it ran and judged, or could not measure.
RAN = (0, 1, 3, 4)


def commands_in(text: str) -> list[str]:
    """The commands under ``next``, without those that install something or have to be filled in."""
    lines = [line for line in NEXT.findall(text) if COMMAND.match(line)]
    return [line for line in lines if " install " not in line and not PLACEHOLDER.search(line)]


def paste(harness: Shell, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=harness.folder, env=harness.env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def paste_all(harness: Shell, text: str) -> None:
    """Paste what was offered; at least one command was."""
    commands = commands_in(text)
    assert commands, text
    for command in commands:
        ended = paste(harness, command)
        assert ended.returncode in RAN, f"{command}\n{ended.stdout}\n{ended.stderr}"


def test_search_offers_to_compress_the_model_that_was_searched(
    harness: Shell, wide: Path, tmp_path: Path
) -> None:
    (wide / "validation.toml").write_text(VALIDATION.format(loss="20 pt"))
    named = harness.folder / "my model"
    named.symlink_to(wide)
    ended = harness("search", "my model", "-o", "the answer")
    assert ended.code == 0, ended.err
    (command,) = commands_in(ended.out)
    assert "'my model'" in command
    paste_all(harness, ended.out)
    assert (harness.folder / "the answer-variant" / "card.json").is_file()


def test_init_offers_to_validate_what_it_wrote(harness: Shell, tiny: Path) -> None:
    folder = harness.folder / "my model"
    folder.mkdir()
    for name in ("model.onnx", "data.npz"):
        (folder / name).write_bytes((tiny / name).read_bytes())
    ended = harness("init", "my model/model.onnx", "--data", "my model/data.npz")
    assert ended.code == 0, ended.err
    (command,) = commands_in(ended.out)
    ended = paste(harness, f"{command} --suite accuracy --variant float32")
    assert ended.returncode in RAN, ended.stderr


@pytest.mark.parametrize("limit", ["0.9", "1.1"])
def test_a_run_offers_what_can_be_pasted(harness: Shell, model: MakeModel, limit: str) -> None:
    folder = model(("min = 0.9", f"min = {limit}"))
    ended = harness("validate", "--model", folder, *ACCURACY)
    assert ended.code in (0, 1), ended.err
    commands = commands_in(ended.out + ended.err)
    assert commands
    for command in commands:
        narrowed = command + " --suite accuracy --variant float32" if " validate " in command else command
        pasted = paste(harness, narrowed)
        assert pasted.returncode in RAN, f"{command}\n{pasted.stderr}"


def test_a_recipe_without_a_model_is_refused_unless_it_is_shipped(harness: Shell, tiny: Path) -> None:
    (harness.folder / "mine.toml").write_text('recipe = [{ pass = "quantize" }]\n')
    ended = harness("compress", "--recipe", "mine.toml", "-o", "made")
    assert ended.code == 2, ended.err
    assert "needs the model it was made for" in ended.err
    (line,) = (line for line in NEXT.findall(ended.err) if COMMAND.match(line))
    assert not (harness.folder / "made").exists()
    pasted = paste(harness, line.replace("MODEL", str(tiny)))
    assert pasted.returncode == 0, pasted.stderr
    assert (harness.folder / "made" / "mine.onnx").is_file()


def test_the_bundled_model_is_named_if_none_is_given(harness: Shell) -> None:
    ended = harness("compress", "--recipe", "float16", "--format", "onnx", "-o", "made")
    assert ended.code == 0, ended.err
    assert "no MODEL given: using the bundled model" in ended.err
    assert "models/digits" in ended.err


def test_a_model_beside_the_validation_of_another_model(harness: Shell, model: MakeModel) -> None:
    folder = model()
    (folder / "other model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    ended = harness("compress", "model/other model.onnx", "--recipe", "int8", "-o", "made")
    assert ended.code == 2, ended.err
    (line,) = (line for line in NEXT.findall(ended.err) if COMMAND.match(line))
    pasted = paste(harness, line.replace("PATH", "model/data.npz"))
    assert pasted.returncode == 0, pasted.stderr
    assert (folder / "other model.toml").is_file()
