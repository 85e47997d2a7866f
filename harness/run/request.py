"""The first step of a run: the texts of a command line → a request."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.config.folders import shipped_folder
from harness.core.errors import UsageError
from harness.core.profile import Profile

#: How long causes of a failure are looked for.
EXPLAIN_S = 60.0
#: How long a soak takes on each target, and the shortest one that shows a trend.
SOAK_S, LEAST_SOAK_S = 1800.0, 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """The options of a run.

    Parameters
    ----------
    targets : tuple of str
    hosts : tuple of str
        Boards of the targets that are reached over ssh and name none themselves.
    model : Path
        A folder or a ``validation.toml``.
    variants, suites : tuple of str
        Empty for all.
    results : Path
        Where runs are stored.
    budget_s : float, optional
        Longest duration of the whole run, preparation included.
    wait_s : float
        How long to wait for a board that is in use.
    release : bool
        A gate that an emulated target cannot answer is NOT_RUN instead of NOT_APPLICABLE.
    decide_within_s : float, optional
        How long undecided gates on times may be measured further.
    profile : Profile
        How deep the run goes.
    soak_s : float
        How long each target is called, with the profile ``soak``; its variants share it.
    """

    targets: tuple[str, ...] = ("cpu",)
    hosts: tuple[str, ...] = ()
    model: Path = Path()
    variants: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    results: Path = Path("results")
    budget_s: float | None = None
    wait_s: float = 0.0
    release: bool = False
    decide_within_s: float | None = None
    profile: Profile = Profile.QUICK
    soak_s: float = 0.0

    @classmethod
    def parse(
        cls,
        *,
        target: str = "",
        host: str = "",
        model: str | Path = "",
        variant: str = "",
        suite: str = "",
        results: str | Path = "",
        budget: str = "",
        wait: str = "",
        release: bool = False,
        decide_within: str = "",
        profile: str = "",
        duration: str = "",
    ) -> Request:
        """Read the texts of a command line; an empty one takes the default.

        Raises
        ------
        UsageError
            A list of names, a duration or a profile is invalid.
        """
        budget_s = parse_seconds(budget, "budget") if budget else None
        chosen = _profile(profile)
        return cls(
            targets=_names(target, "target") or ("cpu",),
            hosts=_names(host, "host"),
            model=Path(model) if model else shipped_folder("models") / "digits",
            variants=_names(variant, "variant"),
            suites=_names(suite, "suite"),
            results=Path(results or "results"),
            budget_s=budget_s,
            wait_s=parse_seconds(wait, "wait") if wait else 0.0,
            release=release,
            decide_within_s=parse_seconds(decide_within, "decide-within") if decide_within else None,
            profile=chosen,
            soak_s=_soak_s(chosen, duration, budget_s),
        )


def parse_seconds(text: str, option: str) -> float:
    """Parse a duration: ``90s``, ``3m`` or ``1h``.

    Parameters
    ----------
    text : str
    option : str
        Its name without the dashes, for the message.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    UsageError
        The text is not a duration.
    """
    factors = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * factors[unit]
    except (KeyError, ValueError):
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise UsageError(f"invalid duration {text!r}; use 90s, 3m or 1h", where=f"--{option}")
    return seconds


def _profile(text: str) -> Profile:
    try:
        return Profile(text or Profile.QUICK)
    except ValueError:
        raise UsageError(
            f"there is no profile {text!r}",
            where="--profile",
            next_step=f"use {', '.join(Profile)}; quick is the default",
        ) from None


def _soak_s(profile: Profile, duration: str, budget_s: float | None) -> float:
    """How long each target is called; 0 without a soak."""
    if profile is not Profile.SOAK:
        if duration:
            raise UsageError(
                f"a run with the profile {profile} has no duration",
                where=f"--duration {duration}",
                next_step="add --profile soak; a longest time for the whole run is --budget",
            )
        return 0.0
    seconds = parse_seconds(duration, "duration") if duration else SOAK_S
    if seconds < LEAST_SOAK_S:
        raise UsageError(
            f"a soak of {seconds:g} s shows no trend",
            where=f"--duration {duration}",
            next_step=f"give {LEAST_SOAK_S:g}s or more",
        )
    if budget_s is not None and budget_s <= seconds:
        raise UsageError(
            f"a soak of {seconds:g} s does not fit into a budget of {budget_s:g} s",
            where="--budget",
            next_step="give a shorter --duration, or leave out --budget",
        )
    return seconds


def _names(text: str, what: str) -> tuple[str, ...]:
    if not text.strip():
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not any(names):
        raise UsageError(f"{text!r} names no {what}")
    if not all(names):
        raise UsageError(f"{text!r} has an empty name between commas", where=what)
    return names


def explain_s(text: str) -> float:
    """Read for how long causes of a failure are looked for: ``60s``; empty is a minute, ``0`` not at all.

    Raises
    ------
    UsageError
    """
    return 0.0 if text == "0" else parse_seconds(text, "explain") if text else EXPLAIN_S
