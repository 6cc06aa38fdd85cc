"""What the author of a backend tests it with: `BackendConformance`, `ManagerConformance`, the corpus of bad names, a pytest plugin.

Nothing here is imported with the package: pytest is needed for the tests only (``pip install 'cloudcontents[testing]'``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conformance import BackendConformance
    from .manager_suite import ManagerConformance
    from .names import CORPUS, Name

__all__ = ["CORPUS", "BackendConformance", "ManagerConformance", "Name"]


def __getattr__(name: str) -> Any:
    if name == "BackendConformance":
        from .conformance import BackendConformance

        return BackendConformance
    if name == "ManagerConformance":
        from .manager_suite import ManagerConformance

        return ManagerConformance
    if name in ("CORPUS", "Name"):
        from . import names

        return getattr(names, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
