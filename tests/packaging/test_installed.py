"""Installed without any extra into a clean environment, the package imports, is found by Jupyter, and its commands work."""

from __future__ import annotations

import json
from typing import Any

# What only an extra, a developer or another backend needs.
UNWANTED = ["boto3", "botocore", "google", "azure", "obstore", "pytest", "jupyterlab", "notebook", "hypothesis"]


def test_importing_brings_in_no_sdk_and_no_test_tool(installed: Any) -> None:
    loaded = installed.python(
        "import json, sys, cloudcontents\n"
        "for name in cloudcontents.__all__: getattr(cloudcontents, name)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    assert not set(json.loads(loaded)) & set(UNWANTED)


def test_the_testing_plugin_does_not_need_pytest_to_be_found(installed: Any) -> None:
    """It is an entry point of pytest's; without pytest nobody loads it, and nothing else may."""
    installed.python("import cloudcontents.manager, cloudcontents.checkpoints, cloudcontents.registry, cloudcontents.cli")


def test_public_names_are_those_of_all_sorted(installed: Any) -> None:
    found = installed.python(
        "import json, cloudcontents as package\n"
        "for name in package.__all__: getattr(package, name)\n"
        "print(json.dumps([package.__all__, dir(package)]))"
    )
    names, listed = json.loads(found)
    assert names == sorted(names)
    assert listed == names


def test_public_classes_name_the_package_as_their_home(installed: Any) -> None:
    """A traceback, a help page and a configuration file name the class by the path that users write."""
    assert "cloudcontents" in installed.python("import cloudcontents; print(cloudcontents.CloudContentsManager.__module__)")


def test_entry_points(installed: Any) -> None:
    found = json.loads(
        installed.python(
            "import json\n"
            "from importlib.metadata import distribution\n"
            "print(json.dumps([[e.group, e.name] for e in distribution('cloudcontents').entry_points]))"
        )
    )
    assert ["cloudcontents.backends", "file"] in found
    assert ["cloudcontents.backends", "memory"] in found
    assert ["console_scripts", "cloudcontents"] in found
    assert ["console_scripts", "jupyter-cloudcontents"] in found
    assert ["pytest11", "cloudcontents"] in found


def test_backends_load_or_say_which_extra_they_need(installed: Any) -> None:
    told = installed.python(
        "import json\n"
        "from cloudcontents.registry import install_command, schemes\n"
        "told = {}\n"
        "for name, entry in schemes().items():\n"
        "    try:\n"
        "        entry.load()\n"
        "    except ImportError:\n"
        "        told[name] = install_command(entry)\n"
        "    else:\n"
        "        told[name] = 'loads'\n"
        "print(json.dumps(told))"
    )
    found = json.loads(told)
    assert found.pop("file") == found.pop("memory") == "loads"
    extras = json.loads(
        installed.python(
            "import json\nfrom importlib.metadata import metadata\nprint(json.dumps(metadata('cloudcontents').get_all('Provides-Extra')))"
        )
    )
    # What the registry's message says.
    assert set(found.values()) <= {f"pip install 'cloudcontents[{extra}]'" for extra in extras}


def test_the_server_extension_is_enabled(installed: Any) -> None:
    listed = installed.python(
        "import subprocess, sys\n"
        "r = subprocess.run([sys.executable, '-m', 'jupyter_server.extension.serverextension', 'list'], capture_output=True, text=True)\n"
        "print(r.stdout + r.stderr)"
    )
    (line,) = [line for line in listed.splitlines() if line.strip().startswith("cloudcontents") and "enabled" in line]
    assert "enabled" in line
    assert "X" not in line.replace("cloudcontents", "")


def test_installing_does_not_choose_the_manager(installed: Any) -> None:
    """Who installs a package has not asked for another store."""
    chosen = installed.python(
        "from jupyter_server.serverapp import ServerApp\n"
        "app = ServerApp()\n"
        "app.load_config_file()\n"
        "print(app.config.ServerApp.get('contents_manager_class', 'unchanged'))"
    )
    assert chosen.strip() == "unchanged"


def test_the_version_is_told(installed: Any) -> None:
    version = installed.python("from importlib.metadata import version; print(version('cloudcontents'))").strip()
    assert version in installed.command("cloudcontents", "--version")


def test_jupyter_finds_the_command(installed: Any) -> None:
    assert "lab" in installed.command("jupyter", "cloudcontents", "--help")
