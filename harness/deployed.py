"""What a target would run, opened in this process: for tests of a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.core.artifact import Artifact
from harness.core.contracts import Session
from harness.core.errors import TargetUnavailable, UsageError
from harness.core.job import DEPLOY, Options
from harness.core.target import Target
from harness.device import plugins
from harness.executors.abilities import abilities_of
from harness.report.progress import Quiet
from harness.run.prepare import prepare
from harness.run.request import Request


@dataclass(frozen=True, slots=True)
class Deployed:
    """The artifacts of one target's headline backend, by variant, as they ship.

    Parameters
    ----------
    target : Target
    backend : str
    artifacts : mapping of variant to Artifact
    options : mapping of setting to Options
    """

    target: Target
    backend: str
    artifacts: Mapping[str, Artifact]
    options: Mapping[str, Options] = field(default_factory=dict)

    def open(self, variant: str, setting: str = DEPLOY) -> Session:
        """Open a variant; the session is a context manager.

        Raises
        ------
        UsageError
            There is no such variant here.
        BackendError
            The runtime refused it.
        """
        if variant not in self.artifacts:
            raise plugins.unknown("variant", variant, self.artifacts)
        backend = plugins.choose(plugins.BACKENDS, self.backend)()
        session: Session = backend.open(self.artifacts[variant], self.options[setting])
        return session


def deploy(request: Request) -> Deployed:
    """Make the chosen variants for the first target of a request.

    Raises
    ------
    UsageError
        The target runs elsewhere: in another Python, or on another machine.
    TargetUnavailable
        Nothing of it can run here.
    """
    prepared = prepare(request, Quiet())
    prepared.close()
    target = prepared.targets[0]
    if not abilities_of(target).shares_python:
        raise UsageError(
            f"the target {target.name} does not run in this Python, so no session of it can be opened",
            next_step="test on the table instead: the fixture measurements",
        )
    backend = target.backends[0]
    batches = [
        batch for batch in prepared.plan.batches if (batch.target, batch.backend) == (target.name, backend)
    ]
    if not batches:
        raise TargetUnavailable(f"nothing can run on {target.name}/{backend}", next_step="harness targets")
    artifacts = {batch.variant: batch.artifact for batch in batches}
    return Deployed(target, backend, artifacts, batches[0].options)
