"""One side prepares its input otherwise: mistakes are made on the reference, and on the other side."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import preprocess
from harness.core.errors import DataError, HarnessError
from harness.explain.hypotheses.pipeline import columns
from harness.explain.inputs import mistakes, pixels
from harness.explain.inputs.made_rows import MadeRows
from harness.explain.inputs.mistakes import Made, Mistake
from harness.explain.inputs.originals import Pipeline
from harness.explain.recipes.toml import as_toml
from harness.explain.scene import INPUT, Finding, Remedy, Scene, State
from harness.explain.scene.findings import percent_left
from harness.explain.scene.scene import EXPLAINED
from harness.explain.sides.runner import Trial
from harness.explain.sides.side import Side, as_is

Inputs = Mapping[str, NDArray[Any]]
#: Samples with which mistakes are looked for, and bytes of them, unless two take more; those that explain
#: something are made in all samples.
SCREENED, SCREENED_BYTE = 8, 2**24
#: Images that are prepared again may leave so much of the difference.
IMITATED = 0.01
#: Mistakes, and bytes of inputs, that one session is fed; and for how long new ones are begun on one side.
AT_ONCE, AT_ONCE_BYTE, MOST_S = 32, 2**26, 10.0
#: So many pairs of mistakes are tried, those first of which each one helps most; where one helps so much.
PAIRS, FEWEST_TO_PAIR = 192, 0.1
#: So many of the best are made in all samples.
BEST = 2
#: With such a share in the samples no further mistake is tried.
ENOUGH = 0.999
#: A mistake that explains less says nothing: of about a hundred, one does by chance.
FEWEST = 0.25
#: The same where 8 bits make a part of the difference: the best of healthy pairs explains a fifth.
FEWEST_OF_BITS = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """One or two mistakes in one input of a side.

    Parameters
    ----------
    side : Side
        That was made to err.
    name : str
        Of the input.
    made : tuple of Mistake
    share : float
        Of the difference on the screened samples.
    """

    side: Side
    name: str
    made: tuple[Mistake, ...]
    share: float = 0.0

    @property
    def text(self) -> str:
        """In words."""
        return " and ".join(mistake.text for mistake in self.made)

    def inputs(self, rows: Sequence[int], *, may_be_same: bool = False) -> Inputs | None:
        """Canonical inputs of some samples; None where the mistake is not possible, or changes nothing."""
        raw = self.side.rows(rows)
        right = {name: preprocess.apply(array, self.side.preprocess[name]) for name, array in raw.items()}
        changed = mistakes.together(self.made, _made(self.side, self.name, rows))
        if changed is None:
            return None
        wrong = changed.canonical()
        if wrong.shape != right[self.name].shape:
            return None
        is_same = not may_be_same and np.array_equal(wrong, right[self.name])
        return None if is_same else {**right, self.name: wrong}

    def erring(self) -> Side:
        """The side with the mistakes in all its samples, which are made when they are read."""
        count = len(next(iter(self.side.raw.values())))

        def make(rows: Sequence[int]) -> NDArray[Any]:
            inputs = self.inputs(rows, may_be_same=True)
            if inputs is None:
                raise DataError(f"the samples of {self.name} cannot be made again: its files have changed")
            return inputs[self.name]

        right = {
            name: MadeRows(count, partial(_right, self.side, name))
            for name in self.side.raw
            if name != self.name
        }
        fed: Any = {**right, self.name: MadeRows(count, make)}
        return replace(self.side, raw=fed, preprocess=as_is(self.side))


def _right(side: Side, name: str, rows: Sequence[int]) -> NDArray[Any]:
    return preprocess.apply(side.rows(rows)[name], side.preprocess[name])


def _made(side: Side, name: str, rows: Sequence[int]) -> Made:
    originals = side.originals if len(side.raw) == 1 else None
    pipeline = None if originals is None else Pipeline(originals.recipe)
    return Made(side.rows(rows)[name], side.preprocess[name], rows, originals, pipeline)


def screened(scene: Scene, side: Side) -> Sequence[int]:
    """The first samples, fewer where they are large."""
    size_byte = sum(4 * array[:1].size for array in side.raw.values())
    return scene.rows[: max(2, min(SCREENED, SCREENED_BYTE // max(1, size_byte)))]


def single(side: Side, rows: Sequence[int]) -> list[Case]:
    """All mistakes that are possible for the inputs of a side, the likeliest first."""
    raw = next(iter(side.rows(rows).values()))
    if side.originals is not None and not (len(side.raw) == 1 and side.originals.are_those_of(raw, rows)):
        side = replace(side, originals=None)  # there is another input, or other files by now
    cases = []
    for name in side.raw:
        made = _made(side, name, rows)
        listed = [*mistakes.of_input(made), *pixels.of_pixels(made)]
        cases += [Case(side, name, (mistake,)) for mistake in listed]
    return cases


def pairs(cases: Sequence[Case]) -> list[Case]:
    """Two mistakes at once, those first of which each explains most."""
    both = [
        (one.share + two.share, replace(one, made=(*one.made, *two.made)))
        for one, two in itertools.combinations(cases, 2)
        if one.name == two.name and one.made[0].kind != two.made[0].kind
    ]
    return [case for _, case in sorted(both, key=lambda pair: -pair[0])[:PAIRS]]


def _of_tables(scene: Scene, side: Side) -> Iterator[Case]:
    for name in side.raw:
        for mistake in columns.of_table(scene, name):
            yield Case(side, name, (mistake,))


@dataclass
class _Search:
    """Mistakes that are made on one side.

    Parameters
    ----------
    scene : Scene
    side : Side
    """

    scene: Scene
    side: Side
    tried: list[Case] = field(default_factory=list)
    refused: str = ""
    left_out: int = 0

    def run(self) -> None:
        """Try each mistake alone, then two at once."""
        rows, end_s = screened(self.scene, self.side), min(time.monotonic() + MOST_S, self.scene.end_s)
        cases = [] if self.side is self.scene.other else list(_of_tables(self.scene, self.side))
        self._try([*cases, *single(self.side, rows)], rows, end_s)
        best = self._best()
        if best and FEWEST_TO_PAIR < best[0].share < 1 - EXPLAINED:
            self._try(pairs(best), rows, end_s)

    def run_steps(self) -> None:
        """Try what ``[input.NAME]`` can say."""
        rows, end_s = screened(self.scene, self.side), min(time.monotonic() + MOST_S, self.scene.end_s)
        cases = [
            Case(self.side, name, (mistake,))
            for name in self.side.raw
            for mistake in mistakes.of_step(_made(self.side, name, rows))
        ]
        self._try(cases, rows, end_s)

    def _try(self, cases: Sequence[Case], rows: Sequence[int], end_s: float) -> None:
        waiting, fed = list(cases), list[tuple[Case, Inputs]]()
        while waiting and not any(case.share >= ENOUGH for case in self.tried):
            if time.monotonic() > end_s:
                self.left_out += len(waiting)
                return
            size_byte = 0
            while waiting and len(fed) < AT_ONCE and size_byte < AT_ONCE_BYTE:
                case = waiting.pop(0)
                if (inputs := case.inputs(rows)) is not None:
                    fed.append((case, inputs))
                    size_byte += sum(x.nbytes for x in inputs.values())
            self._run(fed, len(rows))
            fed.clear()

    def _run(self, fed: Sequence[tuple[Case, Inputs]], count: int) -> None:
        """Feed the samples of several cases one after the other to one session."""
        if not fed:
            return
        data = {name: np.concatenate([inputs[name] for _, inputs in fed]) for name in fed[0][1]}
        trial = Trial(data, self.side.options)
        (trace,) = self.scene.runner.many(self.side, [trial], as_is(self.side))
        if isinstance(trace, HarnessError):
            self.refused = trace.what
            return
        for place, (case, _) in enumerate(fed):
            rows = slice(place * count, (place + 1) * count)
            share = self.scene.share_of_part(self.side, trace, rows)
            self.tried.append(replace(case, share=share))

    def _best(self) -> list[Case]:
        """The best first; of equal ones the likeliest, and one mistake before two."""
        return sorted(self.tried, key=lambda case: (-round(case.share, 2), len(case.made)))

    def confirmed(self) -> tuple[Case, Side] | None:
        """The best with its share in all samples, and the side that errs; None where none explains enough."""
        for case in self._best()[:BEST]:
            if case.share < FEWEST:
                continue
            changed = case.erring()
            trace = self.scene.runner.samples(changed, self.scene.rows)
            share = self.scene.share(*self.scene.in_place_of(self.side, trace))
            if share >= self._fewest(len(case.made)):
                return replace(case, share=share), changed
        return None

    def _fewest(self, count: int) -> float:
        """The least share that says something."""
        is_of_bits = self.scene.reference.artifact.precision != self.scene.other.artifact.precision
        if is_of_bits:
            return FEWEST_OF_BITS
        return 1 - EXPLAINED if count > 1 else FEWEST


class Input:
    """One side prepares its input otherwise."""

    name = "preprocessing"

    def test(self, scene: Scene) -> Finding:
        """Prepare one side's input as mistakes would, and look which gives the other's numbers."""
        if scene.is_within_rounding:
            return Finding(self.name, State.REFUTED, "the difference is one of rounding")
        searches, results = list[_Search](), list[tuple[Case, Side, Side]]()
        for side in (scene.reference, scene.other):
            searches.append(search := _Search(scene, side))
            search.run()
            if result := search.confirmed():
                results.append((*result, side))
                if result[0].share >= 1 - EXPLAINED:
                    break
        if not results:
            return self._refuted(searches)
        case, erring, side = max(results, key=lambda result: result[0].share)
        # The reference that errs like the other shows the other's mistake, and the reverse.
        wrong = scene.other if side is scene.reference else scene.reference
        after, remedy = scene.replaced(side, erring), remedy_of(case, wrong)
        if wrong is scene.other and (fed := fed_otherwise(scene)) is not None:
            after, remedy = scene.replaced(wrong, fed[0]), fed[1]
        return Finding(
            self.name, scene.judged(case.share, is_exact=False),
            f"so prepared, both sides agree but for {percent_left(case.share)} of the difference",
            case.share, f"{wrong.label} gets its input {case.text}", INPUT, remedy, after,
            may_leave=IMITATED,
        )  # fmt: skip

    def _refuted(self, searches: Sequence[_Search]) -> Finding:
        tried = [case for search in searches for case in search.tried]
        evidence = [f"none of {len(tried)} usual mistakes of preprocessing gives these numbers"]
        if left_out := sum(search.left_out for search in searches):
            evidence.append(f"{left_out} were not tried: the runs take too long")
        evidence += dict.fromkeys(search.refused for search in searches if search.refused)
        share = max((case.share for case in tried), default=0.0)
        return Finding(self.name, State.REFUTED, "; ".join(evidence), max(0.0, share))


def remedy_of(case: Case, wrong: Side) -> Remedy:
    """What the wrong side has to do; nobody but its pipeline can."""
    tables = [
        "[data.image]" if mistake.stage == mistakes.IMAGE else f"[input.{case.name}]" for mistake in case.made
    ]
    listed = " and ".join(dict.fromkeys(tables))
    return Remedy(f"prepare the input as {listed} of validation.toml says", "", wrong.label, was_run=False)


def fed_otherwise(scene: Scene) -> tuple[Side, Remedy] | None:
    """The other side fed so that it gives the reference's numbers, where ``[input.NAME]`` can say how."""
    search = _Search(scene, scene.other)
    search.run_steps()
    result = search.confirmed()
    if result is None or result[0].share < 1 - EXPLAINED:
        return None
    case, erring = result
    made = _made(scene.other, case.name, [0])
    changed = mistakes.together(case.made, made)
    assert changed is not None
    before, after = made.step.to_json(), changed.step.to_json()
    keys = ", ".join(f"{key} = {as_toml(after[key])}" for key in after if before[key] != after[key])
    # Not a line to apply: every target gets what validation.toml says, and the reference is right.
    line = f"[input.{case.name}] {keys}, in a validation.toml for it alone"
    return erring, Remedy(f"feed {scene.other.label} otherwise", line, scene.other.label)
