"""jupyter-collaboration's test_handlers."""

from tests.test_handlers import *  # noqa: F403
