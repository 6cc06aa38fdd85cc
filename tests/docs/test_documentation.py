"""What the documentation says is so: settings and their defaults, routes, promises and their tests, code, links."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from tornado.web import RequestHandler
from traitlets import Undefined
from traitlets.config import Configurable

from cloudcontents import CloudContentsManager
from cloudcontents.checkpoints import BucketCheckpoints
from cloudcontents.extension import CloudContentsExtension
from cloudcontents.handlers import handlers
from cloudcontents.uploads.settings import UploadSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

PROJECT = Path(__file__).resolve().parent.parent.parent
DOCS = PROJECT / "docs"
PAGES = sorted([*PROJECT.glob("*.md"), *DOCS.rglob("*.md")])


def settings() -> list[tuple[type[Configurable], str, Any]]:
    """Every setting of ours, by class."""
    found = []
    for owner in (CloudContentsManager, BucketCheckpoints, CloudContentsExtension):
        for name, trait in sorted(owner.class_own_traits(config=True).items()):
            # ExtensionApp gives each extension these three; they say nothing of ours.
            if owner is not CloudContentsExtension or name not in ("static_paths", "template_paths", "settings"):
                found.append((owner, name, trait))
    uploads = sorted(UploadSettings.class_own_traits(config=True).items())
    return [*found, *((CloudContentsManager, name, trait) for name, trait in uploads)]


def section(page: str, title: str) -> str:
    """What a page says below a heading, up to the next one of the same or a higher level."""
    match = re.search(rf"^(#+) .*{re.escape(title)}.*$", page, re.MULTILINE)
    assert match, f"no heading with {title}"
    rest = page[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def routes() -> list[str]:
    """Every verb and route of ours, as the documentation writes them."""
    found = []
    table = [*handlers(), (r"/files(?P<path>.*)", CloudContentsManager().files_handler_class, {})]
    for pattern, handler, *_ in table:
        route = re.sub(r"\(\?P<path>.*\)$", "/<path>", pattern)
        route = route.replace("([^/]+)", "<id>").replace(r"(\d{1,9})", "<number>").removesuffix("/?")
        for verb in RequestHandler.SUPPORTED_METHODS:
            method = getattr(handler, verb.lower())
            if method is not getattr(RequestHandler, verb.lower()) and verb != "OPTIONS":
                found.append(f"{verb} {route}")
    return found


@pytest.mark.parametrize(("owner", "name", "trait"), [pytest.param(*s, id=f"{s[0].__name__}.{s[1]}") for s in settings()])
def test_every_setting_is_documented_with_its_default(owner: type[Configurable], name: str, trait: Any) -> None:
    text = section((DOCS / "configuration.md").read_text(encoding="utf-8"), f"`{owner.__name__}`" if name else "")
    rows = [line for line in text.splitlines() if line.startswith(f"| `{name}` ")]
    assert len(rows) == 1, f"{name} is not in the table of {owner.__name__}"
    assert trait.help, f"{name} has no help text"
    default = trait.default()
    if name == "url" and owner is CloudContentsManager:  # from the environment
        default = "$CLOUDCONTENTS_URL"
        assert f"| `{default}` |" in rows[0]
    elif default is not Undefined:
        documented = rows[0].split("|")[2].strip().strip("`")
        shown = json.dumps(default) if isinstance(default, str) else f"{default:g}" if isinstance(default, float) else str(default)
        assert documented == shown


def test_no_setting_is_documented_that_does_not_exist() -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    for owner in (CloudContentsManager, BucketCheckpoints):
        own = section(page, f"`{owner.__name__}`")
        for name in re.findall(r"^\| `(\w+)`", own, re.MULTILINE):
            assert owner.class_traits(config=True).get(name) is not None, f"{owner.__name__} has no setting {name}"


@pytest.mark.parametrize("route", routes())
def test_every_route_is_documented(route: str) -> None:
    assert f"| `{route}` |" in (DOCS / "http.md").read_text(encoding="utf-8")


def test_no_route_is_documented_that_does_not_exist() -> None:
    page = (DOCS / "http.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([A-Z]+ /(?:cloudcontents|files)[^`]*)` \|", page, re.MULTILINE)
    assert documented
    assert set(documented) <= set(routes())


def promised_tests() -> list[tuple[str, str]]:
    """Each promise with each test that its section names."""
    page = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    return [(f"G{n}", test) for n in range(1, 11) for test in re.findall(r"`(\w+/[\w/.-]+\.py::\w+)`", section(page, f"G{n}:"))]


@pytest.mark.parametrize("number", range(1, 11))
def test_each_promise_names_tests(number: int) -> None:
    assert [test for promise, test in promised_tests() if promise == f"G{number}"]


@pytest.mark.parametrize(("promise", "test"), promised_tests())
def test_the_tests_that_a_promise_names_exist(promise: str, test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((PROJECT / path).read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    assert name in names


def code_blocks() -> list[Any]:
    """Every fenced block of code, with its language."""
    blocks = []
    for page in PAGES:
        for number, match in enumerate(re.finditer(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)):
            blocks.append(pytest.param(match[1], match[2], id=f"{page.relative_to(PROJECT)}-{number}"))
    return blocks


@pytest.mark.parametrize(("language", "code"), code_blocks())
def test_code_in_the_documentation_parses(language: str, code: str) -> None:
    if language == "python":
        ast.parse(textwrap.dedent(code))
    elif language == "json":
        json.loads(code)
    elif language == "toml":
        tomllib.loads(code)
    elif language == "yaml":
        yaml.safe_load(code)
    else:
        assert language in ("bash", "text"), f"say what language it is: {language}"
        if language == "bash":
            for line in code.replace("\\\n", "").splitlines():
                shlex.split(line, comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("#"):
            continue
        assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links to {target}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        assert f" {page.relative_to(DOCS)}" in navigation
