"""jupyter-collaboration's test_app."""

from tests.test_app import *  # noqa: F403
