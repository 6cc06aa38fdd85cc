"""jupyter-collaboration's test_documents."""

from tests.test_documents import *  # noqa: F403
