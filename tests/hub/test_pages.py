"""Every configuration that the pages of JupyterHub and of moving in show is loaded, and does what they say."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from traitlets.config import Config

from cloudcontents import CloudContentsManager
from cloudcontents.policy import least_policy

DOCS = Path(__file__).resolve().parents[2] / "docs"
HUB = (DOCS / "jupyterhub.md").read_text(encoding="utf-8")
MIGRATING = (DOCS / "migrating.md").read_text(encoding="utf-8")


def blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def loaded(code: str) -> tuple[Config, dict[str, Any]]:
    """What a configuration file sets, and the names in it."""
    names: dict[str, Any] = {"c": Config()}
    names["get_config"] = lambda: names["c"]
    exec(compile(code, "config.py", "exec"), names)
    return names["c"], names


def urls(config: Config, **variables: str) -> dict[str, str]:
    """The buckets that a manager of this configuration opens, by path, and whether each can only be read."""
    manager = CloudContentsManager(config=config, variables=variables)
    try:
        return {mount.name: ("read-only " if mount.read_only else "") + mount.bucket.url for mount in manager.namespace.mounts}
    finally:
        asyncio.run(manager.namespace.close())


@pytest.fixture(autouse=True)
def _of_no_account(monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_USER", "ann")
    for name in ("CLOUDCONTENTS_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


def test_each_user_has_a_prefix():
    assert urls(loaded(blocks(HUB)[0])[0]) == {
        "": "s3://hub-home/people/ann",
        "shared": "s3://hub-home/shared",
        "course": "read-only s3://hub-home/course",
    }


def test_the_chart_s_values():
    (values,) = (yaml.safe_load(block) for block in blocks(HUB, "yaml"))
    file = values["singleuser"]["extraFiles"]["cloudcontents"]
    assert file["mountPath"] == "/etc/jupyter/jupyter_server_config.py"
    assert urls(loaded(file["stringData"])[0]) == {"": "s3://hub-home/people/ann", "shared": "s3://hub-home/shared"}
    loaded(values["hub"]["extraFiles"]["credentials"]["stringData"])


def test_the_other_blocks_are_configurations():
    hook, services, kernels = (loaded(block)[0] for block in blocks(HUB)[1:])
    assert callable(hook.Spawner.pre_spawn_hook)
    assert services.JupyterHub.services[0]["command"][0] == sys.executable
    assert services.JupyterHub.load_roles[0]["services"] == ["culler"]
    assert not [name for name in services.Spawner.env_keep if "KEY" in name or "SECRET" in name or "TOKEN" in name]
    assert kernels.MappingKernelManager.cull_idle_timeout == 3600


def test_the_hook_s_rights_are_the_least_there_are():
    """Those that `policy` prints, without what shows the names of other prefixes or the bucket's unfinished uploads."""
    names = loaded(blocks(HUB)[1])[1]
    listing, objects = names["statements"]("people/ann")
    printed = yaml.safe_load(least_policy("s3://hub-home/people/ann"))["Statement"]
    assert objects["Resource"] == [printed[1]["Resource"]]
    assert set(objects["Action"]) == set(printed[1]["Action"])
    assert listing["Action"] == printed[0]["Action"]
    assert listing["Condition"]["StringLike"]["s3:prefix"] == ["people/ann/*"]
    assert names["statements"]("course", write=False)[1]["Action"] == ["s3:GetObject"]


@pytest.mark.parametrize("name", ["*", "a/b", "..", "${aws:username}", "a?", ""])
async def test_the_hook_refuses_names_that_mean_more(name):
    hook = loaded(blocks(HUB)[1])[1]["own_credentials"]
    with pytest.raises(ValueError, match="gets no credentials"):
        await hook(SimpleNamespace(user=SimpleNamespace(name=name, id=1), environment={}))


def test_moving_in():
    s3contents, jgscm, jupyter_fs = (loaded(block)[0] for block in blocks(MIGRATING)[1::2])
    assert urls(s3contents) == {"": "s3://my-bucket/notebooks/me"}
    assert urls(jgscm) == {"": "gs://my-bucket/notebooks"}
    assert urls(jupyter_fs) == {"": "file:///home/me/notebooks", "team": "s3://my-bucket/team", "data": "read-only file:///srv/data"}


def test_what_was_there_before_is_the_other_package_s():
    """The blocks named *Before* set nothing of ours."""
    for block in blocks(MIGRATING)[::2]:
        assert "CloudContents" not in block
    assert len(blocks(MIGRATING)) == 6
