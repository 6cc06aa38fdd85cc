"""``cloudcontents policy``: what it prints is what the docs of each backend say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cloudcontents.cli import main
from cloudcontents.errors import UnsupportedError
from cloudcontents.policy import least_policy

DOCS = Path(__file__).parents[2] / "docs" / "backends"


def test_s3_prints_the_documented_policy(capsys):
    assert main(["policy", "s3://BUCKET/PREFIX"]) == 0
    documented = re.search(r"```json\n(.*?)```", (DOCS / "s3.md").read_text(), re.S)
    assert json.loads(capsys.readouterr().out) == json.loads(documented.group(1))


def test_s3_without_a_prefix_names_the_whole_bucket():
    listing, objects, _ = json.loads(least_policy("s3://b"))["Statement"]
    assert "Condition" not in listing
    assert objects["Resource"] == "arn:aws:s3:::b/*"


def test_a_policy_for_a_prefix_tells_nothing_of_other_prefixes():
    listing, objects = json.loads(least_policy("s3://b/p"))["Statement"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["p/*"]}}
    assert objects["Resource"] == "arn:aws:s3:::b/p/*"


def test_gcs_and_azure_print_what_their_pages_name():
    for permission in json.loads(least_policy("gs://b/p"))["includedPermissions"]:
        assert permission.rpartition(".")[2] in (DOCS / "gcs.md").read_text()
    role = json.loads(least_policy("az://account/container/p"))
    for action in role["DataActions"]:
        assert action in (DOCS / "azure.md").read_text()
    assert role["AssignableScopes"][0].endswith("account/blobServices/default/containers/container")


def test_a_store_without_policies_says_so(capsys):
    assert main(["policy", "file:///tmp"]) == 1
    assert "s3://" in capsys.readouterr().err
    with pytest.raises(UnsupportedError):
        least_policy("memory://x")
