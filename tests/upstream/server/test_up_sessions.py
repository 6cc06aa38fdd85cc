"""jupyter_server's tests of sessions, with real kernels."""

from tests.services.sessions.test_api import *  # noqa: F403
