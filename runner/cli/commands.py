"""The commands.  Each imports what it needs when it runs, so that `--help` stays quick."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli import show
from runner.cli.completing import provider_names, spec_names
from runner.cli.completion import completion
from runner.cli.context import Context, names_like, one_spec, open_project, pass_context, tidy
from runner.cli.doctor import doctor
from runner.cli.explain import explain
from runner.cli.guide import Guide
from runner.cli.init import init
from runner.cli.kinds import ALLOW, DURATION, LABEL
from runner.cli.output import output
from runner.cli.report import report
from runner.cli.state import state
from runner.errors import RunnerError


@click.group(
    cls=Guide,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with `runner init`, which costs nothing; `runner doctor` says what is still missing.",
)
@click.option(
    "-C", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Look for runner.yaml from DIR on up."
)
@click.option("--no-color", is_flag=True, help="No colour, even on a terminal (so does NO_COLOR).")
@click.version_option(package_name="batch-runner", prog_name="runner")
@click.pass_context
def cli(context: click.Context, folder: Path | None, no_color: bool) -> None:
    """Declarative LLM batch jobs: plan what a change would submit and cost, apply it exactly once."""
    show.Look.colour = False if no_color else None
    context.obj = Context(folder or Path.cwd())


# ---- documents -------------------------------------------------------------------------------------------------------


@cli.command()
@click.option("--format", "format", type=click.Choice(["text", "json", "github"]), default="text", show_default=True)
@pass_context
def validate(context: Context, format: str) -> None:
    """Report every problem of every file, offline."""
    from runner.edge.steps import place_in_repository
    from runner.load import find_root, problems
    from runner.report.text import github_lines, json_line, problem_lines, read_on
    from runner.sandbox import rationed

    with rationed():
        found = problems(root := find_root(context.start))
    if format == "json":
        click.echo(json_line({"problems": [vars(problem) for problem in found]}))
    elif format == "github":
        place = place_in_repository(root)
        show.say(github_lines(found, "" if place == "." else f"{place}/"))
    else:
        show.say(problem_lines(found) or ["Everything is valid."])
    if found:
        if format == "text":
            show.say([f"{len(found)} problem{'s' if len(found) != 1 else ''}"])
            show.say(show.paint(line.text, dim=True) for line in read_on(problem.code for problem in found))
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("kind", type=click.Choice(["batch", "project"]), default="batch")
def schema(kind: str) -> None:
    """Print the JSON Schema of a spec (batch) or of runner.yaml (project)."""
    from runner.schema import schema_text

    click.echo(schema_text(kind), nl=False)


@cli.command()
@click.argument("name", shell_complete=spec_names)
@click.option("--row", metavar="KEY", help="Only the row with this key (or number, where there is no key).")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="At most N rows.")
@pass_context
def render(context: Context, name: str, row: str | None, limit: int | None) -> None:
    """Print the exact request bodies of spec NAME, offline."""
    from runner.preview import bodies, model_of
    from runner.report.text import safe_json

    with open_project(context, offline=True) as (world, specs, journal):
        count = 0
        spec = one_spec(specs, name)
        if model_of(world, spec, journal.state) is None:
            show.warn(f"No model is chosen yet for {name}, which takes the provider's list: it is left empty.")
        for body in bodies(world, specs, spec, journal.state, key=row, limit=limit):
            click.echo(safe_json(body))
            count += 1
    if not count:
        raise RunnerError(f"no row of {name} has the key {row!r}" if row else f"{name} has no rows", code="row-unknown")


@cli.command()
@click.argument("provider", required=False, shell_complete=provider_names)
@click.option(
    "--spec",
    "spec",
    metavar="NAME",
    shell_complete=spec_names,
    help="Say of each model whether it fits this spec, and why not.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@pass_context
def models(context: Context, provider: str | None, spec: str | None, as_json: bool) -> None:
    """List the models on sale."""
    from runner.preview import fitting, listed
    from runner.report.models import model_lines
    from runner.report.text import json_line

    with open_project(context) as (world, specs, _):
        offers = fitting(world, one_spec(specs, spec)) if spec else listed(world, provider)
        if as_json:
            click.echo(json_line({"models": [vars(one) | {"offer": one.offer.to_json()} for one in offers]}))
        else:
            show.say(model_lines(offers))


# ---- plan and apply --------------------------------------------------------------------------------------------------


@cli.command()
@click.option(
    "--out",
    "out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the plan, for `apply FILE`.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document and nothing else.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Markdown, for a pull request.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when there are changes.")
@click.option("--offline", is_flag=True, help="Ask no provider; needs no secret and no network.")
@click.option(
    "--select",
    "select",
    metavar="NAME",
    multiple=True,
    shell_complete=spec_names,
    help="Only these specs (globs; repeatable).",
)
@click.option("--allow", type=ALLOW, multiple=True, help="Lift one limit for once, such as cost=80.")
@click.option("--upgrade", is_flag=True, help="Choose models anew instead of keeping the pinned ones.")
@click.option(
    "--label", metavar="NAME", type=LABEL, help="What the project is called in a review, instead of by its folder."
)
@pass_context
def plan(
    context: Context,
    out: Path | None,
    as_json: bool,
    as_markdown: bool,
    detailed_exitcode: bool,
    offline: bool,
    select: tuple[str, ...],
    allow: tuple[tuple[str, float], ...],
    upgrade: bool,
    label: str | None,
) -> None:
    """Show what apply would do, and what it would cost.  Changes nothing."""
    import sys
    from dataclasses import replace

    from runner.cli.apply import next_commands, show_plan
    from runner.cli.steps import known_rows, reporting, review_of, wants_summary
    from runner.report.markdown import plan_markdown
    from runner.report.text import json_line
    from runner.resolve import Options
    from runner.workflow import Request, prepare, save_plan

    with reporting("plan") as report, open_project(context, offline=offline) as (world, specs, journal):
        options = Options(offline=offline, upgrade=upgrade, no_rows="no_rows" in dict(allow))
        request = Request(select, options, dict(allow))
        prepared = prepare(world, specs, journal.state, request)
        tidy(world)
        prepared.check()
        for warning in prepared.news.warnings:
            show.warn(f"Warning: {warning}")
        shown = show.EXAMPLES if show.is_terminal(sys.stdout) and not as_json else 0
        most = None if as_markdown or out is not None or wants_summary() else shown
        review = report.review = review_of(world, prepared, label, most=most)
        report.rows = known_rows(prepared)
        if out is not None:
            save_plan(prepared.plan, request, out, review)
    if as_json:
        click.echo(json_line(prepared.plan.to_json()))
    elif as_markdown:
        click.echo(plan_markdown(review), nl=False)
    else:
        prompts = replace(review.prompts, examples=review.prompts.examples[:shown])
        show_plan(prepared.plan, prompts, next_commands(prepared.plan, request, out))
    if detailed_exitcode and prepared.plan.has_changes:
        raise click.exceptions.Exit(2)


@cli.command()
@click.argument("saved", metavar="[PLAN]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", is_flag=True, help="Stay until everything is answered and written.")
@click.option("--timeout", type=DURATION, help="Stop waiting after this long, such as 90s, 15m or 1h.")
@click.option("--expect", metavar="DIGEST", help="Go on only if the plan has this digest.")
@click.option("--collect", is_flag=True, help="Submit and cancel nothing; needs no approval.")
@click.option(
    "--select",
    "select",
    metavar="NAME",
    multiple=True,
    shell_complete=spec_names,
    help="Only these specs (globs; repeatable).",
)
@click.option("--sample", metavar="N", type=click.IntRange(min=1), help="Submit only the first N rows of each spec.")
@click.option("--allow", type=ALLOW, multiple=True, help="Lift one limit for once, such as cost=80.")
@click.option("--upgrade", is_flag=True, help="Choose models anew instead of keeping the pinned ones.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document and nothing else.")
@pass_context
def apply(
    context: Context,
    saved: Path | None,
    yes: bool,
    wait: bool,
    timeout: float | None,
    expect: str | None,
    collect: bool,
    select: tuple[str, ...],
    sample: int | None,
    allow: tuple[tuple[str, float], ...],
    upgrade: bool,
    as_json: bool,
) -> None:
    """Do what plan shows: settle, collect, cancel, submit, publish.  Run it again to go on."""
    from runner.cli.apply import run_apply
    from runner.cli.steps import reporting
    from runner.resolve import Options
    from runner.workflow import Request

    options = Options(sample=sample, upgrade=upgrade, no_rows="no_rows" in dict(allow))
    request = Request(select, options, dict(allow))
    with reporting("apply") as report, open_project(context) as (world, specs, journal):
        code = run_apply(
            world,
            specs,
            journal,
            request,
            report,
            saved=saved,
            yes=yes,
            wait=wait,
            timeout=timeout,
            expect=expect,
            collect=collect,
            as_json=as_json,
        )
    if code:
        raise click.exceptions.Exit(code)


@cli.command()
@click.argument("saved", metavar="PLAN", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--pull-request", "number", metavar="N", type=click.IntRange(min=1), required=True, help="Its number.")
@click.option("--repository", metavar="OWNER/NAME", help="Where it is, instead of GITHUB_REPOSITORY.")
@click.option("--label", metavar="NAME", type=LABEL, help="What the project is called, instead of as the plan says.")
def comment(saved: Path, number: int, repository: str | None, label: str | None) -> None:
    """Keep one comment on a pull request of GitHub that says what a saved plan would do.

    Needs GITHUB_TOKEN with `pull-requests: write`, and no project.  The plan may come from anyone.
    """
    import os
    from contextlib import closing
    from dataclasses import replace

    from runner.commenting import keep_comment, read_plan
    from runner.edge.github import github_of
    from runner.edge.http import Http
    from runner.report.text import plain

    review = read_plan(saved)
    if label is not None:
        review = replace(review, project=label)
    with closing(Http()) as http:
        done, url = keep_comment(github_of(os.environ, http, repository), number, review)
    show.say([plain(f"{done} the comment {url}" if url else "Nothing changes, so nothing was written.")])


@cli.command()
@click.option("--watch", is_flag=True, help="Keep showing it as it changes, looking every two seconds.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@pass_context
def status(context: Context, watch: bool, as_json: bool) -> None:
    """Show what the state knows, by spec and by task.  Asks no provider."""
    from runner.cli.status import show_status, watch_status

    with open_project(context) as (world, specs, journal):
        (watch_status if watch else show_status)(world, journal, specs, as_json=as_json)


@cli.command()
@click.argument("name", shell_complete=spec_names)
@pass_context
def cancel(context: Context, name: str) -> None:
    """Stop what runs of spec NAME (a glob), and ask nothing of it again before `retry`."""
    from runner.operate import cancel as cancel_batches
    from runner.report.text import plain

    with open_project(context) as (world, specs, journal):
        found = cancel_batches(world, journal, names_like(specs, journal, name))
    for one in found:
        word = {"done": "cancelled", "refused": "not cancelled", "unsure": "perhaps cancelled"}[one.outcome]
        told = f"{one.task.batch}: task {one.task.id} {word}" + (f": {one.detail}" if one.detail else "")
        show.say([plain(told)])
    show.say([f"Nothing more is submitted for {name} before `runner retry {name}`."])


@cli.command()
@click.argument("name", shell_complete=spec_names)
@click.option("--failed", "scope", flag_value="failed", default="failed", help="Failed and missing rows (the default).")
@click.option("--all", "scope", flag_value="all", help="Answered rows too.")
@pass_context
def retry(context: Context, name: str, scope: str) -> None:
    """Let the next apply ask again for spec NAME (a glob), attempts counted afresh."""
    from runner.operate import lenders
    from runner.operate import retry as retry_batches

    with open_project(context) as (_, specs, journal):
        names = names_like(specs, journal, name)
        tasks = retry_batches(journal, names, scope)
        others = lenders(journal.state, names)
    what = "all rows" if scope == "all" else "failed and missing rows"
    count = f"{len(tasks)} task{'s' if len(tasks) != 1 else ''}"
    show.say([f"{name}: {what} of {count} will be asked again.  Next:", "    runner plan"])
    if others:
        show.warn(
            f"Some of its requests were first asked by {', '.join(others)}, and are forgiven there: runner retry NAME"
        )


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default=True, help="0: any free port.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Where it keeps its memory and its bill."
)
@click.option(
    "--faults", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="What is to go wrong (YAML or JSON)."
)
@click.option(
    "--answers", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="True answers, for demonstrations."
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="How quickly tasks end.",
)
def simulate(host: str, port: int, data: Path | None, faults: Path | None, answers: Path | None, speed: float) -> None:
    """Run the simulator as a server; prints `listening on URL` when ready."""
    from runner.simulator.server import run

    run(host=host, port=port, data=data, faults_file=faults, speed=speed, answers=answers)


for command in (completion, doctor, explain, init, output, report, state):
    cli.add_command(command)
