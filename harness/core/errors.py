"""The one exception tree of the harness.

::

    HarnessError                      exit code 3
    ├── UsageError                    exit code 2: the request is wrong
    │   ├── ConfigurationError        a TOML file; carries every problem at once
    │   ├── ModelError                a model or an artifact that is not what it should be
    │   │   ├── UnsupportedOperator   an operator that a format or a pass cannot hold
    │   │   ├── RecipeRefused         a recipe that this model does not allow
    │   │   └── PassFailed    a pass has a fault: exit code 3
    │   ├── DataError                 a data set that is not what it should be
    │   └── ResultsError              a results folder, journal or table that cannot be read
    ├── StoreError                    results cannot be written (disk full, read-only)
    ├── TargetUnavailable             a target that cannot be reached or lacks its runtime
    ├── BackendError                  a runtime refused or failed; wraps the runtime's own exception
    │   └── FileRefused               a runtime cannot open this model file
    └── WorkerError                   a worker died, hung or sent invalid data
        └── StreamEnded               within a message

Every error gives what happened, where, the likely cause and the next command.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.core.exit_code import ExitCode


class HarnessError(Exception):
    """Base of every error that the harness raises on purpose.

    Parameters
    ----------
    what : str
        What happened, in one sentence.
    where : str, optional
        File, TOML path, node, target: the place to look at.
    cause : str, optional
        The likely cause, if one is known.
    next_step : str, optional
        The command or the change that fixes it.
    """

    exit_code = ExitCode.NOT_MEASURED

    def __init__(self, what: str, *, where: str = "", cause: str = "", next_step: str = "") -> None:
        self.what, self.where, self.cause, self.next_step = what, where, cause, next_step
        super().__init__(what)

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive the way between processes, whatever a subclass is made from."""
        return _again, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        lines = [self.what]
        for label, text in (("where", self.where), ("cause", self.cause), ("next", self.next_step)):
            if text:
                lines.append(f"  {label:<6} {text}")
        return "\n".join(lines)


def _again(kind: type[HarnessError], args: tuple[object, ...], state: dict[str, object]) -> HarnessError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(HarnessError):
    """The request is wrong: an unknown name, a bad argument."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration, with its TOML path (``gate[2].max``).

    ``name`` is what the table of an array there calls itself; nobody counts gates.
    """

    path: str
    message: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.path}{f' ({self.name!r})' * bool(self.name)}: {self.message}"


class ConfigurationError(UsageError):
    """A configuration file with one or more problems, all of them reported at once."""

    def __init__(self, where: str, problems: tuple[Problem, ...], *, next_step: str = "") -> None:
        self.problems = problems
        listed = "\n".join(f"  {problem}" for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{count} in the configuration\n{listed}", where=where, next_step=next_step)


class ModelError(UsageError):
    """A model or an artifact that is not what it should be."""


class UnsupportedOperator(ModelError):
    """An operator that a format or a pass cannot hold."""


class RecipeRefused(ModelError):
    """A recipe that this model does not allow: the variant is not applicable, and all others are measured."""

    @classmethod
    def of(cls, error: ModelError) -> RecipeRefused:
        """The same error, of a recipe."""
        return cls(error.what, where=error.where, cause=error.cause, next_step=error.next_step)


class PassFailed(ModelError):
    """A compression pass raised an exception or broke its promise: a fault of the pass, not of the usage."""

    exit_code = ExitCode.NOT_MEASURED


class DataError(UsageError):
    """A data set that is not what it should be."""


class ResultsError(UsageError):
    """A results folder, journal or table that cannot be read as one."""


class StoreError(HarnessError):
    """Results cannot be written."""


class TargetUnavailable(HarnessError):
    """A target cannot be reached, or lacks the runtime that it names."""


class BackendError(HarnessError):
    """A runtime refused a model or an input, or failed while it ran.

    Parameters
    ----------
    raw : str, optional
        What the runtime said in full, where the message has only the gist.
    """

    def __init__(
        self, what: str, *, where: str = "", cause: str = "", next_step: str = "", raw: str = ""
    ) -> None:
        self.raw = raw
        super().__init__(what, where=where, cause=cause, next_step=next_step)


class FileRefused(BackendError):
    """A runtime cannot open this model file: what it would measure is skipped, with the reason."""


class WorkerError(HarnessError):
    """A worker died, hung, or sent what is not the wire format."""


class StreamEnded(WorkerError):
    """A worker, or the way to it, died within a message."""
