"""How deep a run goes: the profiles that suites choose their cases by."""

from __future__ import annotations

from enum import StrEnum


class Profile(StrEnum):
    """A suite that looks at no profile has the same cases in each."""

    #: The default: under a minute for a small model on one target.
    QUICK = "quick"
    #: Every shift that applies, and what takes minutes.
    STANDARD = "standard"
    #: As quick, and calls for a given time.
    SOAK = "soak"
