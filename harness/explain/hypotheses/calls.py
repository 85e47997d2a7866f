"""Causes that lie in how the model is called: threads, samples at once, the calls before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.core.errors import HarnessError
from harness.explain.hypotheses.options import first_layer
from harness.explain.scene import Finding, Remedy, Scene, State

#: Samples that are fed at once to see whether their number matters.
AT_ONCE = (2, 7, 16)


class Threads:
    """The numbers depend on the number of threads."""

    name = "threads"

    def test(self, scene: Scene) -> Finding:
        """Run the other side with one thread, or with two."""
        threads = 1 if scene.other.options.threads != 1 else 2
        changed = replace(scene.other, options=replace(scene.other.options, threads=threads))
        try:
            trace = scene.runner.samples(changed, scene.rows)
        except HarnessError as error:
            return Finding(self.name, State.UNTESTED, error.what)
        share = scene.share(scene.first, trace)
        exact = scene.distance(scene.first, trace) == 0
        state = scene.judged(share, is_exact=exact)
        evidence = f"{scene.other.label} with threads = {threads}: {max(0.0, 1 - share):.1%} is left"
        if state is State.REFUTED:
            return Finding(self.name, state, evidence, max(0.0, share))
        asked = scene.other.options.threads or "as many threads as the runtime chooses"
        return Finding(
            self.name, state, evidence, share, f"{scene.other.label} is wrong with {asked} threads",
            first_layer(scene),
            Remedy(f"{threads} threads", f"[deploy] threads = {threads}", scene.other.label),
            scene.replaced(scene.other, changed),
        )  # fmt: skip


class Batches:
    """The numbers of a sample depend on how many are fed at once."""

    name = "samples at once"

    def test(self, scene: Scene) -> Finding:
        """Run the other side with several samples at once, and compare it with itself."""
        alone = scene.answers(scene.second)
        tried = []
        for size in AT_ONCE:
            count = len(scene.rows) // size * size
            if not count:
                continue
            try:
                trace = scene.runner.samples(scene.other, scene.rows[:count], at_once=size)
            except HarnessError as error:
                return Finding(self.name, State.UNTESTED, f"{size} samples at once: {error.what}")
            together = [trace.answer(name).reshape(count, -1) for name in trace.outputs]
            if any(y.size != x[:count].size for x, y in zip(alone, together, strict=True)):
                return Finding(self.name, State.UNTESTED, "the file takes one sample a call")
            tried.append(size)
            for one, two in zip(alone, together, strict=True):
                scale = float(np.sqrt(np.mean(np.square(one)))) or 1.0
                if np.max(np.abs(one[:count] - two), initial=0.0) > 1e-3 * scale:
                    return Finding(
                        self.name, State.CONFIRMED,
                        f"with {size} samples at once {scene.other.label} gives other numbers", 1.0,
                        f"{scene.other.label} computes samples otherwise when {size} are fed at once",
                        "", Remedy("one sample a call", "feed one sample a call", scene.other.label),
                    )  # fmt: skip
        return Finding(
            self.name, State.REFUTED, f"{', '.join(map(str, tried))} at once give the numbers of one"
        )


class Order:
    """The numbers of a sample depend on the calls before."""

    name = "calls before"

    def test(self, scene: Scene) -> Finding:
        """Run the other side again, and in reverse order, and compare it with itself."""
        again = scene.answers(scene.runner.samples(scene.other, scene.rows))
        reverse = scene.answers(scene.runner.samples(scene.other, list(scene.rows)[::-1]))
        for what, answers in (("in reverse order", [y[::-1] for y in reverse]), ("once more", again)):
            for one, two in zip(scene.answers(scene.second), answers, strict=True):
                differing = ~((one == two) | (np.isnan(one) & np.isnan(two))).all(axis=1)
                scale = float(np.sqrt(np.mean(np.square(one)))) or 1.0
                if np.max(np.abs(np.nan_to_num(one - two)), initial=0.0) > 1e-3 * scale:
                    return Finding(
                        self.name, State.CONFIRMED,
                        f"the same samples {what}: {differing.sum()} of {len(differing)} differ", 1.0,
                        f"{scene.other.label} depends on the calls before: its state is not reset, or it is "
                        "not deterministic",
                    )  # fmt: skip
        return Finding(self.name, State.REFUTED, "once more, and in reverse order: the same numbers")
