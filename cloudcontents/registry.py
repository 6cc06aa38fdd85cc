"""Which backend answers for a URL scheme: the entry-point group ``cloudcontents.backends``, loaded only for the scheme in use."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from .backends.interface import Backend, Buckets
from .config import StoreUrl, parse_url
from .errors import ConfigurationError

GROUP = "cloudcontents.backends"


class Opener(Protocol):
    """What an entry point names: a callable that opens a backend. It makes no request and starts no thread."""

    def __call__(self, url: StoreUrl, /) -> Backend:
        """Return the backend for a URL whose scheme is the entry point's name; one without a bucket may open a `Buckets`."""


def schemes() -> dict[str, EntryPoint]:
    """The installed backends by URL scheme; nothing is imported.

    Raises:
        ConfigurationError: Two distributions claim one scheme.
    """
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise ConfigurationError(
                f"Two packages claim {entry.name}://: {_owner(other)} ({other.value}) and {_owner(entry)} ({entry.value}). "
                "Uninstall one of them."
            )
    return found


def open_backend(url: str | StoreUrl, *, accounts: bool = False) -> Backend:
    """Open the backend for a bucket URL. No request is made yet.

    Args:
        url: For example ``file:///home/me/bucket``.
        accounts: Whether a URL without a bucket (``s3://``) will do; then the backend is a `Buckets`.

    Raises:
        ConfigurationError: No backend has that scheme, its parts are not installed, or an option is wrong.
    """
    parsed = parse_url(url) if isinstance(url, str) else url
    known = schemes()
    entry = known.get(parsed.scheme)
    if entry is None:
        raise ConfigurationError(f"No backend for {parsed.scheme}://; installed: {', '.join(sorted(known)) or 'none'}.")
    try:
        opener: Opener = entry.load()
    except ImportError as error:
        raise ConfigurationError(
            f"The backend for {parsed.scheme}:// ({_owner(entry)}) cannot be imported: {error}. "
            f"Install what it needs: {install_command(entry)}"
        ) from error
    backend = opener(parsed)
    if isinstance(backend, Buckets) and not accounts:
        base = backend.url if backend.url.endswith("/") else f"{backend.url}/"
        raise ConfigurationError(f"{backend.url} means every bucket. Here a URL names its bucket: {base}bucket or {base}bucket/prefix.")
    return backend


def install_command(entry: EntryPoint) -> str:
    """The command that installs what a backend needs. Our own extras are called after the service, as their modules are: ``gcs`` for ``gs://``."""
    owner = _owner(entry)
    extra = entry.module.rpartition(".")[2] if owner == "cloudcontents" else ""
    return f"pip install '{owner}[{extra}]'" if extra else f"pip install --force-reinstall '{owner}'"


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unknown package"
