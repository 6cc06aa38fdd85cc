"""What ``c.CloudContentsManager.mounts`` says: which bucket is shown under which path, for whom, and whether it may be written."""

from __future__ import annotations

import difflib
import getpass
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from . import keys
from .backends.interface import Backend
from .backends.read_only import ReadOnlyBackend
from .errors import ConfigurationError, InvalidPathError
from .registry import open_backend

_VARIABLE = re.compile(r"\{(\w+)\}")
_SETTINGS = ("read_only", "url")


def open_mounts(mounts: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Backend]:
    """Open the backend of each mount; no request is made yet.

    Args:
        mounts: By API path: a bucket URL, or ``{"url": …, "read_only": True}``.
        variables: What ``{name}`` in a URL stands for.

    Raises:
        ConfigurationError: A name, setting, variable or URL that cannot be; the message names the mount.
    """
    return {_name(name): _open(name, setting, variables) for name, setting in mounts.items()}


def default_variables() -> dict[str, str]:
    """``username``: JupyterHub's name of the user where there is one, else the operating system's."""
    try:
        return {"username": os.environ.get("JUPYTERHUB_USER") or getpass.getuser()}
    except (OSError, KeyError):  # a container whose user has no name
        return {}


def expand(url: str, variables: Mapping[str, str]) -> str:
    """Put variables into a bucket URL.

    A value is one name in a path: what could lead elsewhere (a slash, ``..``) is refused, not altered.

    Raises:
        ConfigurationError: A variable that is not known, or whose value is no name.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in variables:
            near = difflib.get_close_matches(name, variables, n=1)
            hint = f"did you mean {{{near[0]}}}?" if near else f"known: {', '.join(sorted(variables)) or 'none'}."
            raise ConfigurationError(f"No variable {{{name}}} for a bucket URL; {hint} Set c.CloudContentsManager.variables.")
        text = variables[name]
        try:
            if not text or "/" in text or keys.clean(text) != text:
                raise InvalidPathError("not a name")
        except InvalidPathError:
            raise ConfigurationError(f"The variable {{{name}}} is {keys.show(text)}, which cannot be one name in a path.") from None
        return quote(text, safe="")

    return _VARIABLE.sub(value, url)


def _name(name: str) -> str:
    try:
        path = keys.clean(name)
    except InvalidPathError as error:
        raise ConfigurationError(f"A mount cannot be named {keys.show(name)}: {error.message}") from None
    if keys.is_hidden(path) and path:
        raise ConfigurationError(f"A mount cannot be named {keys.show(name)}: names that begin with a dot are hidden.")
    return path


def _open(name: str, setting: Any, variables: Mapping[str, str]) -> Backend:
    known = {"url": setting} if isinstance(setting, str) else setting
    if not isinstance(known, Mapping) or not isinstance(known.get("url"), str):
        raise ConfigurationError(f"Mount {keys.show(name)}: write a bucket URL, or {{'url': …, 'read_only': True}}.")
    for option in known:
        if option not in _SETTINGS:
            near = difflib.get_close_matches(str(option), _SETTINGS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_SETTINGS)}."
            raise ConfigurationError(f"Mount {keys.show(name)}: unknown setting {option!r}; {hint}")
    read_only = known.get("read_only", False)
    if not isinstance(read_only, bool):
        raise ConfigurationError(f"Mount {keys.show(name)}: read_only is True or False, not {read_only!r}.")
    try:
        backend = open_backend(expand(known["url"], variables), accounts=True)
    except ConfigurationError as error:
        raise ConfigurationError(f"Mount {keys.show(name)}: {error.message}") from error
    return ReadOnlyBackend(backend) if read_only else backend
