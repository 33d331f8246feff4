"""The operator's door: cancel, retry, adopt, abandon, remove, push and migrate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runner.edge.store import Conflict, Store
from runner.edge.world import World
from runner.errors import RunnerError, StateConflict
from runner.journal import Journal
from runner.refresh import is_claimed, job_of
from runner.state import Abandoned, Forgiven, Removed, State, Stopped, Stopping, Submitted, Unreadable, dump, load
from runner.stopping import cancel_task
from runner.task import COLLECTED, ENDED, OPEN, STAGED, VOID, Task
from runner.workers import needs_us


@dataclass(frozen=True)
class Cancelled:
    """What cancelling one task came to: ``outcome`` is done, refused or unsure."""

    task: Task
    outcome: str
    detail: str


def cancel(world: World, journal: Journal, names: Sequence[str]) -> list[Cancelled]:
    """Stop what runs of these batches, and ask nothing of them again before `retry`.

    The decision is recorded first: should this run be killed, the next apply submits nothing more all the same.
    """
    tasks = [task for name in names for task in journal.state.of(name)]
    lasting = tuple(task.id for task in tasks if task.on_its_way or task.phase == COLLECTED)
    journal.write(Stopped(lasting, "cancelled", tuple(names)))
    told = [Cancelled(task, *cancel_task(world, task)) for task in tasks if task.phase == OPEN]
    heard = tuple(one.task.id for one in told if one.outcome == "done")
    journal.write(*([Stopping(heard)] if heard else []))
    return told


def retry(journal: Journal, names: Sequence[str], scope: str) -> list[Task]:
    """Forgive failures of these batches (``scope`` "failed"), or their answers too ("all"); the next apply submits.

    A request that another batch asked first is in that batch's task, and is forgiven there.
    """
    tasks = [
        task
        for name in names
        for task in journal.state.of(name)
        if (task.phase == COLLECTED and (scope == "all" or task.counts[1] or task.counts[2]))
        or (task.on_its_way and task.stopped)
    ]
    journal.write(Forgiven(tuple(task.id for task in tasks), scope, tuple(names)))
    return tasks


def lenders(state: State, names: Sequence[str]) -> list[str]:
    """Other batches whose tasks hold requests of these."""
    needs = {
        id
        for name in names
        if (known := state.batches.get(name)) is not None and known.covered is not None
        for id in known.covered.needs
    }
    return sorted({state.tasks[id].batch for id in needs if id in state.tasks} - set(names))


def adopt(world: World, journal: Journal, id: str, remote_id: str) -> Task:
    """Say that an interrupted start did happen, as ``remote_id``; the provider is asked whether that fits.

    Raises RunnerError when the task is not one to adopt for, Refused when the remote task is another.
    """
    task = find_task(journal.state, id)
    if task.phase not in (STAGED, VOID):
        raise RunnerError(
            f"task {id} is {task.phase}: only an interrupted start can be adopted",
            hint="See what there is:",
            commands=["runner state list"],
            code="task-unfit",
        )
    _check_unclaimed(world, task)
    taken = [other.id for other in journal.state.tasks.values() if other.remote_id == remote_id]
    if taken:
        raise RunnerError(f"{remote_id} already is task {taken[0]}", code="task-unfit")
    provider = world.providers[task.provider]
    provider.verify(job_of(task), remote_id)
    journal.write(Submitted(id, remote_id, task.staged_at or world.clock.now()))
    return journal.state.tasks[id]


def abandon(world: World, journal: Journal, id: str) -> Task:
    """Forget a task: its requests may be sent again.  What the provider made of it is not looked at any more."""
    task = find_task(journal.state, id)
    if task.phase not in (STAGED, OPEN, ENDED):
        raise RunnerError(f"task {id} is {task.phase}: there is nothing to abandon", code="task-unfit")
    _check_unclaimed(world, task)
    journal.write(Abandoned(id))
    return task


def _check_unclaimed(world: World, task: Task) -> None:
    """Raises RunnerError while another run is at work on the task: it may be starting it this very moment."""
    if is_claimed(world, task):
        raise RunnerError(
            f"another run is at work on task {task.id}",
            hint="Wait until it has ended; a claim lasts a minute at most.",
            code="task-claimed",
        )


def remove(world: World, journal: Journal, ids: Sequence[str]) -> list[Task]:
    """Take tasks out of the state altogether.  Raises RunnerError while another run is at work on one."""
    tasks = [find_task(journal.state, id) for id in ids]
    for task in tasks:
        _check_unclaimed(world, task)
    journal.write(Removed(tuple(task.id for task in tasks)))
    return tasks


def find_task(state: State, id: str) -> Task:
    """A task by its id or an unambiguous beginning of it.  Raises RunnerError."""
    found = [task for name, task in state.tasks.items() if name == id] or [
        task for name, task in state.tasks.items() if name.startswith(id)
    ]
    if len(found) != 1:
        what = "no task" if not found else f"{len(found)} tasks"
        raise RunnerError(
            f"{what} in the state go by {id!r}",
            hint="See what there is:",
            commands=["runner state list"],
            code="task-unknown",
        )
    return found[0]


def push(world: World, document: bytes, *, force: bool) -> State:
    """Replace the state by ``document``.  Raises StateConflict for another lineage or an older serial."""
    pushed = load(document)
    current = world.store.read()
    held = _held(current, force=force)
    if not force and held.lineage not in (None, pushed.lineage):
        raise StateConflict(
            f"the state is of lineage {held.lineage}, the file of {pushed.lineage}: they are not the same state",
            hint="Nothing was written.  Keep the state that is there; then, if the file is to replace it all the same:",
            commands=["runner state pull > kept.json", "runner state push --force FILE"],
            code="state-differs",
        )
    if not force and pushed.serial < held.serial:
        raise StateConflict(
            f"the file's serial {pushed.serial} is older than the state's {held.serial}",
            hint="Nothing was written.  Keep the state that is there; then, if the file is to replace it all the same:",
            commands=["runner state pull > kept.json", "runner state push --force FILE"],
            code="state-differs",
        )
    written = replace(pushed, serial=max(pushed.serial, held.serial) + 1, writer=world.unique())
    try:
        world.store.swap(current, dump(written))
    except Conflict:
        raise StateConflict("another run changed the state meanwhile", hint="Run the same command again.") from None
    return written


def migrate(world: World, source: Store, *, force: bool) -> tuple[State, int]:
    """Copy the state in ``source``, blobs first, into the store that runner.yaml names; returns it and their number.

    What is in ``source`` stays.  Raises StateConflict where another state, or a newer one, is there already.
    """
    document = source.read()
    if document is None:
        raise RunnerError(
            "there is no state to be moved", hint="Name the store that `state:` named before.", code="state-missing"
        )
    moved, current = load(document), world.store.read()
    held = _held(current, force=force)
    if not force and held.lineage not in (None, moved.lineage):
        raise StateConflict(
            f"there is another state already, of lineage {held.lineage}: the one to be moved is of {moved.lineage}",
            hint="With --force it is replaced all the same.",
            code="state-differs",
        )
    if not force and held.lineage is not None and held.serial > moved.serial:
        raise StateConflict(
            f"the state is there already, at serial {held.serial}; the one to be moved is at {moved.serial}",
            hint="With --force it is replaced all the same.",
            code="state-differs",
        )
    asked = sorted({task.batch for task in moved.tasks.values() if task.on_its_way and needs_us(world, task.provider)})
    if asked and not force:
        raise RunnerError(
            f"questions of {', '.join(asked)} are asked from this machine, and their answers would stay behind",
            hint="Let them end with the old store first: runner apply --yes --wait.",
            code="queue-elsewhere",
        )
    names = moved.blobs
    for count, name in enumerate(names, start=1):
        _copy(source, world.store, name)
        world.progress("moving", count, len(names))
    if source.read() != document:
        raise StateConflict("a run changed the state while it was copied", hint="Stop the others, and run it again.")
    written = replace(moved, serial=max(moved.serial, held.serial) + 1, writer=world.unique())
    try:
        world.store.swap(current, dump(written))
    except Conflict:
        raise StateConflict("another run changed the state meanwhile", hint="Run the same command again.") from None
    return written, len(names)


def _copy(source: Store, target: Store, name: str) -> None:
    spooled = target.spool()
    try:
        with source.local(name).open("rb") as file:
            while piece := file.read(1 << 20):
                spooled.write(piece)
        target.adopt(spooled)
    finally:
        spooled.drop()


def _held(document: bytes | None, *, force: bool) -> State:
    """The state that is to be replaced; a damaged one counts for nothing when it is to be replaced by force."""
    try:
        return State() if document is None else load(document)
    except Unreadable:
        if force:
            return State()
        raise
