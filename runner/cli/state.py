"""`runner state`: the operator's door."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli import show
from runner.cli.completing import task_ids
from runner.cli.context import Context, open_project, open_world, pass_context
from runner.cli.guide import Guide


@click.group(cls=Guide)
def state() -> None:
    """Look at the state, and put right what only a person can know."""


@state.command("list")
@pass_context
def list_tasks(context: Context) -> None:
    """List every task."""
    from runner.report.status import task_table

    with open_project(context) as (_, _, journal):
        show.say(task_table(journal.state.tasks.values()) or ["The state knows of no task."])


@state.command("show")
@click.argument("task", required=False, shell_complete=task_ids)
@pass_context
def show_task(context: Context, task: str | None) -> None:
    """Print TASK, or the whole document, as JSON."""
    import json

    from runner.operate import find_task
    from runner.report.text import safe_json
    from runner.state import dump

    with open_project(context) as (_, _, journal):
        if task is None:
            click.echo(safe_json(dump(journal.state).decode()), nl=False)
            return
        found = find_task(journal.state, task)
    document = {"task": found.id, "name": found.name, **found.to_json()}
    click.echo(safe_json(json.dumps(document, indent=2, ensure_ascii=False)))


@state.command()
@click.argument("task", shell_complete=task_ids)
@click.argument("remote_id")
@pass_context
def adopt(context: Context, task: str, remote_id: str) -> None:
    """Say that TASK was started after all, as REMOTE_ID at its provider."""
    from runner.operate import adopt as adopt_task
    from runner.report.text import plain

    with open_project(context) as (world, _, journal):
        adopted = adopt_task(world, journal, task, remote_id)
    show.say([plain(f"Task {adopted.id} of {adopted.batch} is {remote_id}.  Go on with:"), "    runner apply"])


@state.command()
@click.argument("task", shell_complete=task_ids)
@pass_context
def abandon(context: Context, task: str) -> None:
    """Forget TASK, so that its requests may be sent again."""
    from runner.operate import abandon as abandon_task
    from runner.report.text import plain

    with open_project(context) as (world, _, journal):
        gone = abandon_task(world, journal, task)
    told = plain(f"Task {gone.id} of {gone.batch} is abandoned; its requests may be sent again.")
    show.say([told, "    runner plan"])


@state.command()
@click.argument("tasks", metavar="TASK...", nargs=-1, required=True, shell_complete=task_ids)
@pass_context
def rm(context: Context, tasks: tuple[str, ...]) -> None:
    """Take tasks out of the state; what they answered is forgotten, and will be asked again."""
    from runner.operate import remove
    from runner.report.text import plain

    with open_project(context) as (world, _, journal):
        removed = remove(world, journal, tasks)
    show.say([plain(f"removed {task.id} of {task.batch}") for task in removed])


@state.command()
@pass_context
def pull(context: Context) -> None:
    """Print the state document as it is stored."""
    from runner.report.text import safe_json

    with open_world(context) as (world, _):
        document = world.store.read()
    click.echo(safe_json((document or b"").decode("utf-8", "backslashreplace")), nl=False)


@state.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Even if it is another state, or an older one.")
@pass_context
def push(context: Context, file: Path, force: bool) -> None:
    """Replace the state by FILE."""
    from runner.operate import push as push_document

    with open_world(context) as (world, _):
        written = push_document(world, file.read_bytes(), force=force)
    show.say([f"The state is now at serial {written.serial}."])


@state.command()
@click.argument("source", metavar="FROM")
@click.option("--blobs", metavar="PLACE", help="Where FROM kept its raw results, if not beside the state.")
@click.option("--force", is_flag=True, help="Even if another state, or a newer one, is there already.")
@pass_context
def migrate(context: Context, source: str, blobs: str | None, force: bool) -> None:
    """Copy the state from the store FROM, such as .runner, into the one that runner.yaml names now."""
    from runner.edge.stores import open_named
    from runner.operate import migrate as migrate_state
    from runner.report.text import plain

    with open_world(context) as (world, _):
        written, count = migrate_state(world, open_named(world.root, source, blobs), force=force)
        place = world.project.state
    show.say(
        [
            plain(f"{place} holds the state now, at serial {written.serial}, and {count:,} blobs."),
            plain(f"{source} is as it was: see that nobody goes on with it."),
        ]
    )
