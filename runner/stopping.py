"""Ask a provider to stop a task."""

from __future__ import annotations

from runner.edge.world import World
from runner.errors import Elsewhere, ProviderError, Refused
from runner.refresh import is_claimed, job_of
from runner.task import Task


def cancel_task(world: World, task: Task) -> tuple[str, str]:
    """What it came to, done, refused or unsure, and why."""
    try:
        stopped = world.providers[task.provider].cancel(job_of(task))
    except Elsewhere as error:  # nobody asks it any more, but for a machine that is told by the state
        return ("unsure", error.message) if is_claimed(world, task) else ("done", "")
    except Refused as error:
        return "refused", error.message
    except ProviderError as error:
        return "unsure", error.message
    return ("done", "") if stopped else ("refused", "the provider cannot cancel: the task goes on and is paid")
