"""The gates that the installed suites propose for a new model."""

from __future__ import annotations

from dataclasses import replace

from harness.core.suite import ProposalContext, ProposedGate, SupportsProposals
from harness.device import plugins


def propose(context: ProposalContext) -> list[ProposedGate]:
    """Ask every installed suite.

    Returns
    -------
    list of ProposedGate
        With the key ``suite``: first those with a reason for their limit, last those that are comments.
    """
    gates = []
    for name, plugin in plugins.catalogue(plugins.SUITES).items():
        suite = plugin.load()()
        if isinstance(suite, SupportsProposals):
            gates += [replace(gate, table={"suite": name, **gate.table}) for gate in suite.propose(context)]
    return sorted(gates, key=lambda gate: (gate.commented, not gate.why))
