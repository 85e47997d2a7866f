"""``harness cache``: what the cache takes on the disk, and how to clear it."""

from __future__ import annotations

import argparse
from typing import Any

from harness.cli.options import command

DAY_S = 24 * 3600


def add(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Add the command."""
    cached = command(commands, "cache", "show what the cache takes on the disk, or clear it")
    cached.add_argument("--clear", metavar="KIND", nargs="+", default=[],
                        help="delete these kinds, or all; they are made again when needed")  # fmt: skip
    cached.set_defaults(command="cache")


def cache(arguments: argparse.Namespace) -> int:
    """Show or clear the cache."""
    from harness.config.folders import cache_folder
    from harness.core.columns import aligned
    from harness.core.errors import UsageError
    from harness.store import cache_space

    folder = cache_folder()
    if arguments.clear:
        kinds = list(cache_space.KINDS) if arguments.clear == ["all"] else arguments.clear
        if unknown := [kind for kind in kinds if kind not in cache_space.KINDS]:
            raise UsageError(
                f"the cache has no kind {unknown[0]!r}", where="--clear",
                next_step=f"use {', '.join(cache_space.KINDS)}, or all",
            )  # fmt: skip
        print(f"{cache_space.clear(folder, kinds) / 1e6:.1f} MB deleted in {folder}")
        return 0
    spaces = cache_space.spaces(folder)
    lines = [
        (
            space.kind,
            str(space.entries),
            f"{space.size_byte / 1e6:.1f}",
            f"{space.oldest_s / DAY_S:.1f}" if space.kind in cache_space.EVICTED else "",
            cache_space.KINDS[space.kind],
        )
        for space in spaces
    ]
    head = ("kind", "entries", "MB", "days since the oldest use", "what")
    print("\n".join(aligned([head, *lines], right=(1, 2, 3))))
    bounded = sum(space.size_byte for space in spaces if space.kind in cache_space.EVICTED)
    print(
        f"{folder}: {' and '.join(cache_space.EVICTED)} take {bounded / 1e9:.2f} GB. After a run, what was "
        f"not used for a day is deleted beyond {cache_space.most_byte() / 1e9:g} GB ({cache_space.VARIABLE})."
    )
    return 0
