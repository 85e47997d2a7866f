"""The texts of the command line → the two sides that they name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.config.validation import FLOAT32
from harness.core.errors import UsageError
from harness.core.job import DEPLOY, PARITY, Options
from harness.core.target import Target
from harness.explain.sides.side import FILES

SYNTAX = "TARGET[:VARIANT or FILE][@parity][+KEY=VALUE…], as in cpu:int8,tflite:int8+provider=reference"
_SIDE = re.compile(r"(?P<target>[^:@+]+)(:(?P<what>[^@+]+))?(@(?P<setting>[^+]+))?(?P<options>(\+[^+]+)*)")


@dataclass(frozen=True, slots=True)
class SideRequest:
    """One side as the user names it.

    Parameters
    ----------
    label, target : str
    variant : str
    file : Path, optional
        Instead of the variant's own.
    setting : str
        ``deploy`` or ``parity``.
    options : mapping of str to str
        ``threads``, ``precision``, ``provider``, ``requirements``; others are passed to the runtime.
    """

    label: str
    target: str
    variant: str = FLOAT32
    file: Path | None = None
    setting: str = DEPLOY
    options: Mapping[str, str] | None = None

    def opened_with(self, target: Target) -> Options:
        """The options of its sessions."""
        options = target.options()[self.setting]
        given = dict(self.options or {})
        given.pop("requirements", None)
        if "threads" in given:
            options = replace(options, threads=_threads(given.pop("threads"), self.label))
        return replace(
            options,
            precision=given.pop("precision", options.precision),
            provider=given.pop("provider", options.provider),
            extra={**options.extra, **given},
        )


def _threads(text: str, label: str) -> int:
    if not text.isdecimal() or not int(text):
        raise UsageError(f"threads is a number from 1, not {text!r}", where=label)
    return int(text)


def parse(text: str) -> tuple[SideRequest, SideRequest]:
    """Read ``--between A,B``; the first is the reference.

    Raises
    ------
    UsageError
        It does not name two sides.
    """
    sides = [_parse_side(part.strip()) for part in text.split(",") if part.strip()]
    if len(sides) != 2:
        raise UsageError(
            f"{text!r} names {len(sides)} sides, and two are compared", where="--between",
            next_step=f"harness explain --between A,B; a side is {SYNTAX}",
        )  # fmt: skip
    return sides[0], sides[1]


def _parse_side(text: str) -> SideRequest:
    read = _SIDE.fullmatch(text)
    if read is None:
        raise UsageError(f"{text!r} is no side", where="--between", next_step=f"a side is {SYNTAX}")
    what, setting = read["what"] or FLOAT32, read["setting"] or DEPLOY
    if setting not in (DEPLOY, PARITY):
        raise UsageError(f"a setting is {DEPLOY} or {PARITY}, not {setting!r}", where=text)
    options: dict[str, str] = {}
    for pair in filter(None, read["options"].split("+")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"{pair!r} is no option: KEY=VALUE is", where=text)
        options[key] = value
    file = Path(what) if what.endswith(FILES) else None
    if file is not None and not file.is_file():
        raise UsageError(f"there is no file {what}", where=text)
    return SideRequest(text, read["target"], FLOAT32 if file else what, file, setting, options)
