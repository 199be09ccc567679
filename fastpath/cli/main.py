"""Entry point: a lazy group of commands, and the one place where errors become lines and exit statuses."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import NoReturn

import click

from fastpath import __version__
from fastpath.cli import commands
from fastpath.errors import FastpathError, memory_exhausted

INTERRUPTED = 130  # 128 + SIGINT, what shells report for Ctrl-C


class LazyGroup(click.Group):
    """Commands are the modules of `fastpath.cli.commands`, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name every command, in alphabetical order."""
        return sorted(module.name for module in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command's module."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{commands.__name__}.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)
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
    try:
        status = app(standalone_mode=False)
    except FastpathError as error:
        if debug:
            raise
        click.echo(f"fastpath: {error}", err=True)
        sys.exit(error.exit_status)
    except click.ClickException as error:
        context = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "fastpath"
        click.echo(f"fastpath: {error.format_message()} See '{context} --help'.", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("fastpath: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        unknown = f"{type(error).__name__}: {error}; run again with --debug for the traceback"
        click.echo(f"fastpath: {memory_exhausted(error) or unknown}", err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
