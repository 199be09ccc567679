"""Entry point: a lazy group of commands, and the one place where errors become lines and exit statuses."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from fastpath import __version__
from fastpath.cli import commands, outlets
from fastpath.cli.help import meant, write_commands
from fastpath.cli.options import Command
from fastpath.errors import FastpathError, UsageError, memory_exhausted
from fastpath.system.files import as_failure
from fastpath.text import visible
from fastpath.urls import redacted

INTERRUPTED = 130  # 128 + SIGINT, what shells report for Ctrl-C


class LazyGroup(click.Group):
    """Commands are the modules of `fastpath.cli.commands`, imported when they are asked for."""

    def main(self, args: Sequence[str] | None = None, *others: Any, standalone_mode: bool = True, **named: Any) -> Any:  # noqa: ANN401 (as click's)
        """Run as click does, but leave Ctrl-C and a reader that has left to whoever asks for no `standalone_mode`."""
        if "_FASTPATH_COMPLETE" in os.environ:  # completion in a shell is click's, by whatever name this was started
            return super().main(args, "fastpath")
        if standalone_mode:
            return super().main(args, *others, standalone_mode=standalone_mode, **named)  # type: ignore[call-overload]
        try:
            with self.make_context("fastpath", list(sys.argv[1:] if args is None else args)) as context:
                return self.invoke(context)
        except click.exceptions.Exit as ended:
            return ended.exit_code

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name every command, in alphabetical order."""
        return sorted(module.name for module in pkgutil.iter_modules(commands.__path__))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, but of no words make a request for help: no error, as with git's and cargo's kin."""
        return super().parse_args(ctx, args or ["--help"])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in groups."""
        command_by_name = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        write_commands(formatter, {name: command for name, command in command_by_name.items() if command is not None})

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command as click does; where there is none, name the nearest."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = meant(args[0], self.list_commands(ctx))
            raise click.UsageError(f"No such command '{args[0]}'.{near}", ctx)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Command | None:
        """Import one command's module."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{commands.__name__}.{cmd_name}")
        command = module.command
        assert isinstance(command, Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fastpath")
def app() -> None:
    """From a folder of pathology TIFF patches to a trained, calibrated tumour classifier.

    \b
    Start here:  fastpath demo
    Then:        fastpath pack FOLDER -o STORE
                 fastpath train STORE -o RUN --amp
                 fastpath evaluate RUN
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)


def main() -> NoReturn:
    """Run a command; print an error as one line and exit 2 (usage, bad input) or 1 (failure)."""
    debug = "--debug" in sys.argv
    outlets.prepare()
    try:
        check_arguments(sys.argv[1:])
        status = app(standalone_mode=False)
    except (KeyboardInterrupt, click.Abort) as error:
        _leave("interrupted", getattr(error, "exit_status", INTERRUPTED))
    except OSError as error:
        if outlets.reader_left(error):
            outlets.silence()
            sys.exit(outlets.READER_LEFT)
        if debug:
            raise
        outlets.silence_if_full(error)
        _leave(*_line_and_status(_of_system(error)))
    except Exception as error:
        if debug:
            raise
        _leave(*_line_and_status(error))
    sys.exit(status if isinstance(status, int) else 0)


def check_arguments(words: list[str]) -> None:
    """Refuse words that no file system, shell or table agrees on how to read.

    Raises:
        UsageError: Naming the first of them.
    """
    for number, word in enumerate(words, start=1):
        if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
            problem = f"found '{word}', which is not UTF-8, wanted text or the path of a file with a name in UTF-8"
            raise UsageError(f"argument {number}", problem, "rename the file, for example with convmv")


def _line_and_status(error: Exception) -> tuple[str, int]:
    """Return the line that tells an error, and the exit status."""
    if isinstance(error, FastpathError):
        return str(error), error.exit_status
    if isinstance(error, click.ClickException):
        context = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "fastpath"
        text = error.format_message()
        if isinstance(error, click.MissingParameter):  # click lists choices on lines of their own
            text = " ".join(text.split())
        return f"{redacted(text)} See '{context} --help'.", error.exit_code
    exhausted = memory_exhausted(error)
    message = redacted(" ".join(str(error).split()), foreign=True)
    unknown = f"{type(error).__name__}: {message}; run again with --debug for the traceback"
    return str(exhausted or unknown), 1


def _of_system(error: OSError) -> FastpathError:
    """Return what the operating system refused, where nothing closer to it knew what it was for."""
    if error.filename is not None:
        return as_failure(Path(os.fsdecode(error.filename)), error, "cannot be read or written")
    failure = as_failure(Path(), error, "a read or write failed")
    return FastpathError("this machine", failure.problem, failure.remedy)


def _leave(message: str, status: int) -> NoReturn:
    """Print one line on standard error, where there is one, and exit."""
    outlets.tell(f"fastpath: {visible(message)}")
    sys.exit(status)
