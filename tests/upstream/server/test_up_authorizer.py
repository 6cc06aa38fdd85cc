"""jupyter_server's tests of authorization."""

from tests.auth.test_authorizer import *  # noqa: F403
