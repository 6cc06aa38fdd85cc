"""``lab``, ``notebook`` and ``config``: JupyterLab or Notebook on a bucket, with everything set."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..backends.interface import LocalPath
from ..config import parse_url
from ..errors import ConfigurationError
from ..registry import open_backend
from .console import note, out
from .places import is_url

_MANAGER = "cloudcontents.CloudContentsManager"
_APPS = {"lab": ("JupyterLab", "jupyterlab.labapp", "LabApp"), "notebook": ("Notebook", "notebook.app", "JupyterNotebookApp")}


def add(commands: Any) -> None:
    """Add the commands to the command line."""
    for name, (title, _, _) in _APPS.items():
        parser = commands.add_parser(
            name,
            help=f"start {title} on a bucket",
            usage=f"cloudcontents {name} [-h] [URL] [--] [JUPYTER ARGUMENTS]",
            description=f"Start {title} on a bucket, with everything set. On file:// the directory is made if it is missing, and kernels "
            "start beside their notebooks.",
        )
        parser.add_argument("url", metavar="URL", nargs="?", help="default: CLOUDCONTENTS_URL, else the current directory")
        parser.set_defaults(run=_start, app=name)

    parser = commands.add_parser("config", help="print the configuration to paste", description="Print what to paste to use a bucket.")
    parser.add_argument("url", metavar="URL", nargs="?", help="default: CLOUDCONTENTS_URL, else the current directory")
    parser.set_defaults(run=_config)


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Set apart what is Jupyter's: all that comes after ``lab`` or ``notebook`` and its URL."""
    for at, argument in enumerate(arguments):
        if argument in _APPS:
            rest = list(arguments[at + 1 :])
            if rest[:1] in (["-h"], ["--help"]):
                return list(arguments), []
            own = 1 if rest and not rest[0].startswith("-") else 0
            more = rest[own:]
            return [*arguments[: at + 1], *rest[:own]], more[1:] if more[:1] == ["--"] else more
        if not argument.startswith("-"):
            break
    return list(arguments), []


def _start(args: argparse.Namespace) -> int:
    url = _url(args.url)
    directory = _directory(url)
    title, module, name = _APPS[args.app]
    try:
        app = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigurationError(f"{title} is not installed here: pip install 'cloudcontents[{args.app}]' ({error})") from None
    argv = [f"--ServerApp.contents_manager_class={_MANAGER}", f"--CloudContentsManager.url={url}"]
    # Installing the package enables its extension; this is for where its configuration was not installed along.
    argv.append("--ServerApp.jpserver_extensions=cloudcontents=True")
    if directory is not None:
        if not directory.is_dir():
            directory.mkdir(parents=True, exist_ok=True)
            note(f"made the directory {directory}")
        argv.append(f"--ServerApp.root_dir={directory}")
    app.launch_instance([*argv, *args.extra])
    return 0


def _config(args: argparse.Namespace) -> int:
    url = _url(args.url)
    directory = _directory(url)
    out("# In jupyter_server_config.py (`jupyter --paths` says where Jupyter looks for it):")
    out(f"c.ServerApp.contents_manager_class = {_MANAGER!r}".replace("'", '"'))
    out(f"c.CloudContentsManager.url = {_quoted(url)}")
    if directory is not None:
        out(f"c.ServerApp.root_dir = {_quoted(str(directory))}  # so that kernels start beside their notebooks")
    out()
    out("# Or with the environment, here for one start:")
    root = f" --ServerApp.root_dir={shlex.quote(str(directory))}" if directory is not None else ""
    out(f"CLOUDCONTENTS_URL={shlex.quote(url)} jupyter lab --ServerApp.contents_manager_class={_MANAGER}{root}")
    return 0


def _url(given: str | None) -> str:
    """The bucket URL of a command; checked as far as it can be without a request."""
    url = given or os.environ.get("CLOUDCONTENTS_URL") or Path.cwd().as_uri()
    if not is_url(url):
        raise ConfigurationError(f"{url!r} is not a bucket URL; for a directory write {Path(url).absolute().as_uri()}")
    backend = open_backend(url, accounts=True)
    asyncio.run(backend.close())
    return url


def _directory(url: str) -> Path | None:
    """The directory that a bucket is, where it is one of this machine."""
    if parse_url(url).scheme != "file":
        return None
    backend = open_backend(url)
    path = backend.local_path("") if isinstance(backend, LocalPath) else None
    asyncio.run(backend.close())
    return Path(path) if path is not None else None


def _quoted(text: str) -> str:
    """A Python string literal, in the quotes that a configuration file uses."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
