"""A metric that can be divided by sample: its mean over the samples of a group, a class or a window."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantity:
    """How a sentence puts the value of a part, and what values a sample can have.

    Parameters
    ----------
    text : str
        What a part does, with a place for the value: ``"lost {:.3g} pt"``.
    factor : float
        From the metric's unit to the one in the text.
    reach : float, optional
        Values of samples lie in 0 to it (of a share), or in -it to it; None: they have no bound.
    column : str
        Title of the column of the worst part at the end of a run, with a place for the kind of the parts
        (``"worst {} pt"``); empty for none.
    """

    text: str
    factor: float = 1.0
    reach: float | None = None
    column: str = ""
