"""jupyter_server's tests of /nbconvert/."""

from tests.nbconvert.test_handlers import *  # noqa: F403

# Upstream skips the whole module without pandoc; two of its tests need it, and applicable.py names them.
pytestmark = []
