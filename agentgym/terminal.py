"""What is written to the terminal. Text that is not ours (paths, task types, observations, errors) is never markup."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.logging import RichHandler


def plain_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console for tables and lines in which square brackets and `:names:` stand for themselves."""
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)


def say_error(console: Console, error: object) -> None:
    """Print an error as one line."""
    console.print(f"error: {error}", style="bold red", soft_wrap=True)


def log_to(console: Console) -> None:
    """Show warnings of the library on `console`: above its progress bars, or where there are none a line each."""
    handler: logging.Handler = logging.StreamHandler(console.file)
    if console.is_interactive:
        handler = RichHandler(console=console, show_path=False, markup=False)
    if console.quiet:
        handler = logging.NullHandler()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
