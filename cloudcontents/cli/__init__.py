"""The command line: ``cloudcontents …``, also as ``jupyter cloudcontents …``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from ..errors import CloudContentsError, ConfigurationError
from ..redact import install, redact, register_environment
from . import browse, health, kept, launch, transfer
from .console import note

#: Exit statuses besides 0: something failed, or a problem was found; wrong usage; interrupted; whoever read stdout went away.
FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments, without the program's name; those of the process by default.

    Returns:
        The exit status. A failure is one line on stderr; a traceback only with ``--debug``.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    register_environment()
    try:
        own, extra = launch.split(arguments)
        args = _parser().parse_args(own, argparse.Namespace(extra=extra))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else USAGE
    install()
    try:
        with _terminable():
            result = args.run(args)
            code: int = asyncio.run(result) if inspect.iscoroutine(result) else result
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        note("interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is still buffered has nowhere to go.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if args.debug:
            sys.stderr.write("\n".join(redact(line) for line in traceback.format_exc().splitlines()) + "\n")
        if isinstance(error, (CloudContentsError, OSError)):
            note(transfer.describe(error))
        else:
            note(f"unexpected failure, please report it with what --debug shows: {type(error).__name__}: {error}")
        return USAGE if isinstance(error, ConfigurationError) else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloudcontents",
        description="A bucket as the home directory of JupyterLab and Notebook.",
        epilog="A bucket URL is, for example, file:///home/me/bucket or s3://bucket/prefix. Exit status: 0 done, 1 failed, 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"cloudcontents {version('cloudcontents')}")
    parser.add_argument("--debug", action="store_true", help="show where a failure came from")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (launch, health, browse, transfer, kept):
        group.add(commands)
    return parser


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end a command as an exception does, so that it leaves no half file."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
