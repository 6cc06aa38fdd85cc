"""jupyter_server's tests of /view/."""

from tests.test_view import *  # noqa: F403
