"""jupyter_server's tests of /api/resolvePath; the rest of their module is about kernels."""

from tests.services.kernels import test_api as upstream
from tests.services.kernels.test_api import jp_server_config, pending_kernel_is_ready, suppress_deprecation_warnings  # noqa: F401

globals().update({name: test for name, test in vars(upstream).items() if name.startswith("test_resolve_path")})
