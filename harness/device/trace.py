"""Run a file on some samples and keep all that it returns, as it returns it, for ``harness explain``.

Runs on the device, with numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.core.artifact import STRING
from harness.core.contracts import Bench, SupportsPlacement
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds

#: Key of a case's parameters: samples a call, 0 where the rows are whole tensors of the file.
ROWS = "rows"
#: Another: whether the session is asked on which provider nodes run.
PLACEMENT = "placement"


def measure(bench: Bench, case: Case) -> Iterator[Samples]:
    """Run the first ``case.samples`` rows of the set.

    Where ``rows`` is 0, each row holds one call's tensors for the inputs of the file, by name; else so many
    samples of the canonical inputs are fed at once.

    Yields
    ------
    Samples
        Arrays ``output:0``, ``output:1`` …, of each output that holds numbers: shape (calls, …), dtype and
        layout as the runtime returns them; ``input:0`` …, what the file was fed, where rows are samples.
        Values: ``fed``, their names; ``names`` of the outputs; ``steps``, scale and zero point
        of those that hold integers for real numbers, else None; ``effective``, the session's; ``placement``,
        number of nodes by provider, where it is asked for and the session tells it.
    """
    rows = int(case.params[ROWS])
    with bench.open() as session:
        feeding = bench.feeding(session) if rows else None
        fed: list[str] = []
        specs = [spec for spec in session.outputs if spec.dtype != STRING]
        for start in range(0, case.samples, max(1, rows)):
            given = bench.data.feeds(case.data, start, min(start + max(1, rows), case.samples))
            feeds: Feeds = (
                {name: x[0] for name, x in given.items()} if feeding is None else feeding.feeds(given)
            )
            outputs = session.run(feeds)
            fed = [] if feeding is None else list(feeds)
            yield Samples(
                {
                    f"output:{place}": np.array(outputs[spec.name])[np.newaxis]
                    for place, spec in enumerate(specs)
                }
                | {f"input:{place}": feeds[name][np.newaxis] for place, name in enumerate(fed)}
            )
        placed = {}
        if case.params.get(PLACEMENT) and isinstance(session, SupportsPlacement):
            placed = {provider: count for provider, (count, _) in session.placement(feeds).items()}
        steps = [
            spec.quantization and [spec.quantization.scale, spec.quantization.zero_point] for spec in specs
        ]
        yield Samples(
            values={
                "names": [spec.name for spec in specs],
                "fed": fed,
                "steps": steps,
                "effective": dict(session.effective),
                "placement": placed,
            }
        )
