"""A bucket is a home directory for Jupyter: a ContentsManager for object stores and local directories.

Importing this imports no store's SDK; each is loaded when a bucket URL names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bucket import Bucket
    from .errors import CloudContentsError
    from .manager import CloudContentsManager
    from .registry import open_backend

__version__ = "0.1.0"

__all__ = ["Bucket", "CloudContentsError", "CloudContentsManager", "__version__", "open_backend"]

_HOMES = {"Bucket": "bucket", "CloudContentsError": "errors", "CloudContentsManager": "manager", "open_backend": "registry"}


def __getattr__(name: str) -> Any:
    # Lazily: `cloudcontents.backends` and the command line need not load Jupyter's server.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .extension import CloudContentsExtension

    return [{"module": "cloudcontents.extension", "app": CloudContentsExtension}]
