"""`cloudcontents.testing` is light: nothing of it is imported before it is used, and the plugin drags nothing in."""

import json
import subprocess
import sys
import textwrap

import pytest


def run(code):
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_the_package_needs_no_pytest():
    run("""
        import sys
        sys.modules["pytest"] = None
        import cloudcontents, cloudcontents.testing, cloudcontents.testing.names
        import cloudcontents.backends.local, cloudcontents.backends.memory, cloudcontents.backends.faults
    """)


def test_the_plugin_imports_nothing_of_the_package():
    run("""
        import sys
        import cloudcontents.testing.plugin
        drawn = [name for name in sys.modules if name.startswith("cloudcontents.") and "testing" not in name]
        assert not drawn, drawn
    """)


@pytest.mark.parametrize(("delete", "outcome"), [("return await super().delete(key, if_version=if_version)", "passed"), ("pass", "failed")])
def test_the_suite_finds_what_is_broken_and_reports_it(tmp_path, delete, outcome):
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent(f"""
            import pytest
            from cloudcontents.backends.memory import MemoryBackend, drop_memory_store
            from cloudcontents.testing import BackendConformance

            class Mine(MemoryBackend):
                async def delete(self, key, *, if_version=None):
                    {delete}

            class TestMine(BackendConformance):
                @pytest.fixture
                def backend(self):
                    drop_memory_store("mine")
                    return Mine("mine")
        """)
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-k",
            "test_delete or test_copy",
            "-p",
            "no:cacheprovider",
            "--cloudcontents-report",
            "r.json",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (0 if outcome == "passed" else 1), done.stdout
    report = json.loads((tmp_path / "r.json").read_text())["TestMine"]
    assert report["behaviours"]["delete"] == outcome
    assert report["behaviours"]["copy"] == "passed"
    assert report["behaviours"]["delete_means_one_key"] == "passed"
    assert report["scheme"] == "memory"
    assert "delete_many" in report["optional"]
    assert "rename" not in report["optional"]
    assert report["capabilities"]["put_if_version"] is True
