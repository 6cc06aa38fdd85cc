"""A secret in any variable, option or trait: none of it is in a message, a model, a repr or a log (promise G8)."""

from __future__ import annotations

import asyncio
import importlib
import logging

import pytest
from traitlets import TraitError
from traitlets.config import Config

from cloudcontents import CloudContentsManager
from cloudcontents import redact as module
from cloudcontents.bucket import Patience
from cloudcontents.checkpoints import BucketCheckpoints
from cloudcontents.config import parse_url
from cloudcontents.doctor import examine
from cloudcontents.errors import CloudContentsError
from cloudcontents.policy import least_policy
from cloudcontents.redact import redact, register_environment
from cloudcontents.registry import open_backend

CANARY = "c4n4ry-c4n4ry"

#: What the three SDKs, and the libraries below them, read secrets from. Files that they name are for `test_chains.py`.
SECRETS = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_SECRET_KEY",
    "MINIO_ROOT_PASSWORD",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_PASSWORD",
    "IDENTITY_HEADER",
    "MSI_SECRET",
    "SYSTEM_ACCESSTOKEN",
    "GOOGLE_API_KEY",
    "GOOGLE_CREDENTIALS",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "GOOGLE_CLOUD_KEYFILE_JSON",
    "CLOUDSDK_AUTH_ACCESS_TOKEN",
    "CLOUDSDK_PROXY_PASSWORD",
    "CLOUDCONTENTS_TOKEN",
]
PROXIES = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
ADDRESSES = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS", "STORAGE_EMULATOR_HOST", "CLOUDCONTENTS_URL"]

URLS = {
    "s3": "s3://bucket/home",
    "gcs": "gs://bucket/home",
    "azure": "az://account/box/home",
    "local": "file:///nowhere",
    "memory": "memory://m",
}


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(module, "_registered", ())
    for name in [*SECRETS, *PROXIES, *ADDRESSES]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_a_variable_is_known_by_itself(name):
    register_environment({name: CANARY})
    assert CANARY not in redact(f"something failed: {CANARY}!")


@pytest.mark.parametrize("name", [*PROXIES, *ADDRESSES])
@pytest.mark.parametrize("secret", [CANARY, "p@ss/w%rd:with-more"])
def test_a_password_in_an_address_is_known_by_itself(name, secret):
    register_environment({name: f"http://user:{secret}@proxy.example:3128/x"})
    assert secret not in redact(f"Proxy-Authorization was made of {secret}")
    assert "proxy.example" in redact("cannot reach proxy.example")


def test_a_connection_string_gives_its_key_away():
    register_environment({"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=acc;AccountKey={CANARY};BlobEndpoint=http://x/acc"})
    assert CANARY not in redact(f"could not decode {CANARY}")
    register_environment({"AZURE_STORAGE_SAS_TOKEN": f"sv=2024&sig={CANARY}2&se=2030"})
    assert f"{CANARY}2" not in redact(f"it was {CANARY}2")
    assert redact("account acc at http://x/acc") == "account acc at http://x/acc"


# --- options and traits -----------------------------------------------------------------------------------------------------


def options():
    for module_name, url in URLS.items():
        names = {"nonsense"}
        for part in (module_name, f"{module_name}_client"):
            try:
                found = importlib.import_module(f"cloudcontents.backends.{part}")
            except ImportError:
                continue
            names |= set(getattr(found, "OPTIONS", ()) or getattr(found, "_OPTIONS", ()))
        for name in sorted(names):
            yield pytest.param(url, name, id=f"{module_name}-{name}")


VALUES = [CANARY, f"http://user:{CANARY}@127.0.0.1:1", f"http://127.0.0.1:1/?sig={CANARY}"]


def everything_said(url, caplog):
    """All that anybody is told of a bucket URL: messages, reprs, models, logs."""
    said = []

    def note(work):
        try:
            said.append(work())
        except (CloudContentsError, TraitError) as error:
            said.extend([str(error), repr(error), redact(repr(error.__cause__))])  # the cause as a log would have it

    def manage():
        manager = CloudContentsManager(config=Config({"CloudContentsManager": {"url": url}, "NotebookNotary": {"db_file": ":memory:"}}))
        try:
            return [manager.info_string(), repr(manager), repr(manager.namespace.mounts), *map(repr, walk(manager))]
        finally:
            asyncio.run(manager.close())

    def mount():
        manager = CloudContentsManager(mounts={"a": url, "b": {"url": url, "read_only": True}})
        try:
            return [manager.info_string(), repr(manager.namespace.mounts)]
        finally:
            asyncio.run(manager.close())

    def check():
        backend = open_backend(url)
        try:
            return [backend.url, repr(backend), str(backend), repr(backend.capabilities)]
        finally:
            asyncio.run(backend.close())

    module.install()
    with caplog.at_level(logging.DEBUG):
        note(lambda: str(parse_url(url)))
        note(check)
        note(manage)
        note(mount)
        note(lambda: BucketCheckpoints(url=url)._trait_values and "")
        note(lambda: least_policy(url))
    return repr(said) + caplog.text


@pytest.mark.parametrize("value", VALUES, ids=["text", "user", "query"])
@pytest.mark.parametrize(("url", "name"), list(options()))
def test_a_secret_in_an_option_is_not_repeated(url, name, value, caplog):
    if name in ("profile", "region") and value == CANARY:
        return  # names, which are to be seen in messages and in addresses
    said = everything_said(f"{url}?{name}={value.replace('?', '%3F')}", caplog)
    assert CANARY not in said


@pytest.mark.parametrize(
    "url",
    [
        f"s3://AKIAIOSFODNN7EXAMPLE:{CANARY}@bucket/home",
        f"s3://bucket?aws_secret_access_key={CANARY}",
        f"az://account/box?sas=sv=2024%26sig={CANARY}",
        f"az://account/box?sv=2024&sig={CANARY}",
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={CANARY};EndpointSuffix=core.windows.net",
        f"https://bucket.s3.amazonaws.com/k?X-Amz-Signature={CANARY}",
        f"https://account.blob.core.windows.net/box?sv=2024&sig={CANARY}",
        f"nonsense://user:{CANARY}@host",
        f"s3://bucket#{CANARY}",
        f"http://[{CANARY}",
    ],
)
def test_a_secret_in_a_url_is_not_repeated(url, caplog):
    assert CANARY not in everything_said(url, caplog)


@pytest.mark.parametrize("url", [URLS["s3"], URLS["gcs"], URLS["azure"]])
def test_an_address_holds_no_password(url):
    with pytest.raises(CloudContentsError, match="endpoint_url") as caught:
        open_backend(f"{url}?endpoint_url=http://user:{CANARY}@127.0.0.1:1")
    assert CANARY not in str(caught.value)


def test_the_doctor_repeats_no_secret(monkeypatch, caplog):
    for name in PROXIES:
        monkeypatch.setenv(name, f"http://user:{CANARY}@127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{CANARY}-aws")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "YzRuNHJ5LWM0bjRyeQ==")
    monkeypatch.setattr("cloudcontents.doctor._PATIENCE", Patience(deadline=20, attempts=1))
    module.install()
    with caplog.at_level(logging.DEBUG):
        for url in (f"{URLS['s3']}?endpoint_url=http://store.invalid", f"{URLS['gcs']}?endpoint_url=http://store.invalid", URLS["azure"]):
            report = asyncio.run(examine(url))
            assert not report.healthy
            text = repr(report) + repr(report.as_json())
            assert CANARY not in text
            assert "YzRuNHJ5LWM0bjRyeQ" not in text
    assert len(caplog.records) > 20, "the libraries said nothing"
    assert CANARY not in caplog.text
    assert "YzRuNHJ5LWM0bjRyeQ" not in caplog.text


def walk(root):
    """Every object of this package that hangs on another one."""
    waiting, seen = [root], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if type(one).__module__.startswith("cloudcontents"):
            yield one
            waiting += [value for value in getattr(one, "__dict__", {}).values() if value is not None]
            waiting += [getattr(one, name) for name in getattr(type(one), "__slots__", ()) if hasattr(one, name)]
        elif isinstance(one, (list, tuple, set)):
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
