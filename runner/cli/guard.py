"""Run a command, and turn what became of it into words and an exit code."""

from __future__ import annotations

import os
import sys

import click

from runner.cli.commands import cli
from runner.cli.show import complain
from runner.errors import Interrupted, RunnerError

BUG = 70


def guarded() -> int:
    """The exit code of the command that the command line asks for.  Raises KeyboardInterrupt."""
    try:
        code: int | None = cli.main(standalone_mode=False)  # click hands back the code of an Exit instead of raising it
    except click.ClickException as error:
        error.show()
        return 1
    except (Interrupted, click.Abort):
        raise KeyboardInterrupt from None
    except RunnerError as error:
        complain(error)
        return error.exit_code
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the reader is gone: nothing more to say
        return 1
    except OSError as error:
        complain(disk_error(error))
        return 1
    except MemoryError:
        complain(
            RunnerError("out of memory", hint="Give the command more memory, or split the input.", code="out-of-memory")
        )
        return 1
    except Exception as error:
        return _bug(error)
    return code or 0


def disk_error(error: OSError) -> RunnerError:
    """What the disk refused, in words.  State is written whole or not at all, so that it is as it was."""
    what = error.filename or ("standard output" if _while_printing(error) else "")
    return RunnerError(
        f"{what}: {error.strerror or error}" if what else str(error.strerror or error),
        hint="The state is as it was last written.  Mend the cause and run the same command again to go on.",
        code="disk-refused",
    )


def _while_printing(error: OSError) -> bool:
    """Whether it was our words that found no room: a stream has no name that an error could carry."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_code is click.echo.__code__


def _bug(error: Exception) -> int:
    import platform
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}"  # noqa: PTH119
    click.echo(f"This is a bug in runner: {type(error).__name__} at {place}", err=True)
    click.echo(
        f"  Python {platform.python_version()} on {platform.system()}.  The state is as it was last written.", err=True
    )
    if os.environ.get("RUNNER_DEBUG"):
        traceback.print_exception(error)
    else:
        click.echo(
            "  For the whole story, run it again with RUNNER_DEBUG=1 and look for secrets before you share it.",
            err=True,
        )
    click.echo(f"  More: runner explain {BUG}", err=True)
    return BUG
