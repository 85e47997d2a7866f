"""Tasks: plug-ins that say how outputs are read as answers, and what answers are worth.

Nothing in ``harness`` knows a task by its name; everything asks::

    task = tasks.named(validation.model.task)
    reading = task.reading("logits", integers=False, width=10)
    answers = task.answers(reading, outputs)         # one class a sample, or what the task has
    score = task.score(answers, labels).mean()       # 1 where all are right
    host = tasks.on_host(task.name)                  # labels, metrics, gates
"""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from harness.core.errors import HarnessError, UsageError
from harness.core.task import Task
from harness.device import plugins
from harness.tasks.host import HostTask

T = TypeVar("T", Task, HostTask)


def names() -> tuple[str, ...]:
    """Return the names of the installed tasks."""
    return tuple(plugins.catalogue(plugins.TASKS))


def named(name: str) -> Task:
    """Return the task of that name.

    Raises
    ------
    UsageError
        There is none.
    HarnessError
        Its plug-in cannot be loaded, or is no task.
    """
    return _named(_find(plugins.TASKS, name))


def on_host(name: str) -> HostTask:
    """Return the host's half of the task of that name.

    Raises
    ------
    UsageError
        There is none.
    HarnessError
        Its plug-in cannot be loaded, or is something else.
    """
    return _on_host(_find(plugins.TASK_METRICS, name))


def every_on_host() -> dict[str, HostTask]:
    """Return the host's half of each installed task, by name, in the order of `names`.

    Raises
    ------
    HarnessError
        One cannot be loaded.
    """
    return {name: on_host(name) for name in names()}


def _find(group: str, name: str) -> plugins.Plugin:
    if name not in plugins.catalogue(group):
        raise UsageError(f"there is no task {name!r}", where="task", next_step=f"use {', '.join(names())}")
    return plugins.find(group, name)


@cache
def _named(plugin: plugins.Plugin) -> Task:
    return _made(plugin, Task)  # type: ignore[type-abstract]


@cache
def _on_host(plugin: plugins.Plugin) -> HostTask:
    return _made(plugin, HostTask)  # type: ignore[type-abstract]


def _made(plugin: plugins.Plugin, kind: type[T]) -> T:
    made = plugin.load()()
    if not isinstance(made, kind):
        raise HarnessError(
            f"the task {plugin.name} of {plugin.distribution} is no {kind.__module__}.{kind.__name__}",
            where=f"{plugin.group}: {plugin.entry.value}",
            next_step="see docs/adding-a-task.md",
        )
    return made
