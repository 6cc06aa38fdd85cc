"""What of jupyter_server's suites does not apply to a bucket, and why; and how many of its tests must pass."""

_OS_PATH = "asks where upstream's own file manager keeps a file on disk"
_SYMLINK = "a bucket has no symbolic links"
_STAT = "replaces what the operating system says of a file on disk"
_UPSTREAM_CODE = "tests a private function of upstream's file manager; no manager takes part"
_PATCHES = "patches upstream's file manager and expects it to be called"
_LOCAL_KERNEL = "wants the kernel's working directory to be in the bucket"
_HOME = "wants '~' to mean the user's home directory; in a bucket it is a name like any other"
_WRITES_LOCALLY = "writes its notebook to the local disk by itself"

_EVERYWHERE = {
    "test_up_api.py::test_regression_is_hidden": _PATCHES,
    "test_up_files.py::test_regression_is_hidden": _PATCHES,
    "test_up_manager.py::test_regression_is_hidden": _PATCHES,
    "test_up_manager.py::test_checkpoint_subdir": "asks for the path of upstream's own checkpoint files",
    "test_up_manager.py::test_403": "opens the file with a method that only upstream's file manager has",
    "test_up_manager.py::test_created_timestamp": "changes the file on disk and then saves over it, which a safe save refuses",
    "test_up_manager.py::test_created_timestamp_fallback_to_epoch": _STAT,
    "test_up_manager.py::test_base_model_invalid_timestamp_fallback": _STAT,
    "test_up_manager.py::test_created_uses_birthtime_on_macos": _STAT,
    "test_up_manager.py::test_created_uses_ctime_on_windows": _STAT,
    "test_up_manager.py::test_get_created_timestamp_uses_birthtime": _UPSTREAM_CODE,
    "test_up_manager.py::test_get_created_timestamp_fallback_no_birthtime": _UPSTREAM_CODE,
    "test_up_manager.py::test_get_created_timestamp_accepts_zero_birthtime": _UPSTREAM_CODE,
    "test_up_manager.py::test_get_created_timestamp_fallback_negative_birthtime": _UPSTREAM_CODE,
    "test_up_manager.py::test_get_created_timestamp_fallback_infinite_birthtime": _UPSTREAM_CODE,
    "test_up_manager.py::test_get_created_timestamp_fallback_nan_birthtime": _UPSTREAM_CODE,
    "test_up_manager.py::test_get_created_timestamp_fallback_none_birthtime": _UPSTREAM_CODE,
    "test_up_manager.py::test_get_created_timestamp_fallback_string_birthtime": _UPSTREAM_CODE,
    "test_up_manager.py::test_root_dir": _OS_PATH,
    "test_up_manager.py::test_missing_root_dir": _OS_PATH,
    "test_up_manager.py::test_invalid_root_dir": _OS_PATH,
    "test_up_manager.py::test_get_os_path": _OS_PATH,
    "test_up_manager.py::test_get_os_path_posix": _OS_PATH,
    "test_up_manager.py::test_bad_symlink": _SYMLINK,
    "test_up_manager.py::test_recursive_symlink": _SYMLINK,
    "test_up_manager.py::test_good_symlink": _SYMLINK,
    "test_up_resolve.py::test_resolve_path_server_expands_user": _HOME,
    "test_up_resolve.py::test_resolve_path_server_expands_user_normalizes_path": _HOME,
    "test_up_nbconvert.py::test_from_file_zip_to_latex": "needs pandoc",
    "test_up_nbconvert.py::test_from_post_zip": "needs pandoc",
}

#: Reasons by store and test.
NOT_APPLICABLE = {
    "memory": {
        **_EVERYWHERE,
        "test_up_resolve.py::test_resolve_path_kernel": _LOCAL_KERNEL,
        "test_up_resolve.py::test_resolve_path_server_and_kernel": _LOCAL_KERNEL,
        "test_up_resolve.py::test_resolve_path_missing": _LOCAL_KERNEL,
        "test_up_authorizer.py::test_authorized_requests[True-GET-/view/{nbpath}-None]": _WRITES_LOCALLY,
        'test_up_authorizer.py::test_authorized_requests[True-PATCH-/api/contents/{nbpath}-{"path": "/newpath"}]': _WRITES_LOCALLY,
        "test_up_authorizer.py::test_authorized_requests[True-DELETE-/api/contents/{nbpath}-None]": _WRITES_LOCALLY,
    },
    "file": _EVERYWHERE,
}

#: Tests that would be wrong to pass, on either store.
MUST_FAIL = {
    "test_up_largefilemanager.py::test_saving_different_chunks": "sends each number twice, with other bytes; that is refused",
}

#: Tests that another process must be faster than, or slower.
AGAINST_THE_CLOCK = {
    "test_up_sessions.py::test_create": "asks, when the reply has come, whether the kernel is not yet ready",
    "test_up_sessions.py::test_restart_kernel": "waits one second for the server to notice that a socket was closed",
}

#: Tests that must pass, by store and module. With the one of MUST_FAIL, 345 on memory and 357 on file.
EXPECTED = {
    "memory": {
        "test_up_manager.py": 25,
        "test_up_api.py": 140,
        "test_up_checkpoints.py": 3,
        "test_up_largefilemanager.py": 6,
        "test_up_files.py": 9,
        "test_up_nbconvert.py": 9,
        "test_up_sessions.py": 76,
        "test_up_resolve.py": 12,
        "test_up_authorizer.py": 60,
        "test_up_view.py": 4,
    },
    "file": {
        "test_up_manager.py": 25,
        "test_up_api.py": 140,
        "test_up_checkpoints.py": 3,
        "test_up_largefilemanager.py": 6,
        "test_up_files.py": 9,
        "test_up_nbconvert.py": 9,
        "test_up_sessions.py": 76,
        "test_up_resolve.py": 21,
        "test_up_authorizer.py": 63,
        "test_up_view.py": 4,
    },
}
