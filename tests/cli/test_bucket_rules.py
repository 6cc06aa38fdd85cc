"""What the doctor says of versioning, soft delete, locks, retention and lifecycle rules, as each store tells them."""

import asyncio

import pytest
from azure.storage.blob import RetentionPolicy

from cloudcontents.backends.gcs_rules import _rules
from cloudcontents.backends.rules import BucketRules, Lifecycle
from cloudcontents.bucket_rules import judge, look
from cloudcontents.doctor import examine


def said(url):
    return {finding.check: finding for finding in asyncio.run(look(url))}


@pytest.fixture(params=["minio", "moto"])
def store(request, monkeypatch):
    server = request.getfixturevalue(request.param)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def s3(store):
    client = store.client()
    yield client
    client.close()


def statuses(found):
    return {check: finding.status for check, finding in found.items()}


def test_a_bucket_without_rules(store, s3):
    found = said(f"s3://{store.new_bucket()}/home")
    assert statuses(found) == {"versioning": "ok", "lifecycle": "ok", "unfinished_uploads": "note"}


def test_versioning(store, s3):
    bucket = store.new_bucket()
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    found = said(f"s3://{bucket}")
    assert found["versioning"].status == "note"
    assert "no rule ends them" in found["versioning"].said
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, "NoncurrentVersionExpiration": {"NoncurrentDays": 30}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    assert said(f"s3://{bucket}")["versioning"].status == "ok"


def test_a_lifecycle_rule_that_touches_what_we_keep(store, s3):
    bucket = store.new_bucket()
    rule = {"ID": "sweep it", "Status": "Enabled", "Filter": {"Prefix": "home/"}, "Expiration": {"Days": 9}}
    off = {"ID": "off", "Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule, off]})
    finding = said(f"s3://{bucket}/home")["lifecycle"]
    assert finding.status == "note"
    assert "'sweep it'" in finding.said
    assert "home/.cloudcontents/" in finding.said
    assert said(f"s3://{bucket}/other")["lifecycle"].status == "ok"


@pytest.mark.parametrize(
    ("prefix", "touched"),
    [("", True), ("home/", True), ("home/.cloudcontents/trash/", True), ("hom", True), ("other/", False), ("home/data/", False)],
)
def test_what_a_prefix_touches(prefix, touched):
    rules = BucketRules(older_versions_end=False, lifecycle=[Lifecycle("x", (prefix,), "deletes")])
    assert statuses({finding.check: finding for finding in judge(rules, "home")})["lifecycle"] == ("note" if touched else "ok")


def test_object_lock(store, s3):
    bucket = f"{store.new_bucket()}-locked"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    assert said(f"s3://{bucket}")["object_lock"].status == "ok"
    retention = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 2}}}
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=retention)
    finding = said(f"s3://{bucket}")["object_lock"]
    assert finding.status == "note"
    assert "for 2 days" in finding.said


def test_a_right_that_is_lacking_is_a_note(minio, faultproxy, monkeypatch):
    proxy = faultproxy(minio)
    for name, value in minio.environment(proxy.url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("cloudcontents.doctor.RACERS", 2)  # the races are tested elsewhere
    proxy.answer(403, "AccessDenied", path=r"\?(versioning|lifecycle|object-lock)")
    report = asyncio.run(examine(f"s3://{minio.new_bucket()}"))
    found = {finding.check: finding for finding in report.findings}
    assert report.healthy
    assert found["rules_untold"].status == "note"
    for right in ("s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration", "s3:GetLifecycleConfiguration"):
        assert right in found["rules_untold"].said
    assert not {"versioning", "lifecycle", "object_lock"} & found.keys()


def test_azure_tells_soft_delete(azurite, monkeypatch):
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    container = azurite.new_bucket()
    url = azurite.bucket_url(container)
    with azurite.client() as service:
        try:
            service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=9))
            found = said(url)
            assert found["soft_delete"].status == "note"
            assert "9 days" in found["soft_delete"].said
        finally:
            service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=False))
    found = said(url)
    assert found["soft_delete"].status == "ok"
    assert "lifecycle rules" in found["rules_untold"].said


def test_google_tells_versioning(fake_gcs):
    client = fake_gcs.client()
    name = fake_gcs.new_bucket()
    bucket = client.bucket(name)
    assert said(f"gs://{name}?endpoint_url={fake_gcs.url}")["versioning"].status == "ok"
    bucket.versioning_enabled = True
    bucket.patch()
    assert said(f"gs://{name}?endpoint_url={fake_gcs.url}")["versioning"].status == "note"
    client.close()


def test_what_google_documents():
    """fake-gcs-server keeps none of these; the fields are those of the JSON interface's bucket."""
    told = {
        "versioning": {"enabled": True},
        "softDeletePolicy": {"retentionDurationSeconds": "604800"},
        "retentionPolicy": {"retentionPeriod": "172800"},
        "lifecycle": {
            "rule": [
                {"action": {"type": "Delete"}, "condition": {"age": 30, "matchesPrefix": ["home/", "x/"]}},
                {"action": {"type": "Delete"}, "condition": {"numNewerVersions": 3, "isLive": False}},
                {"action": {"type": "SetStorageClass", "storageClass": "ARCHIVE"}, "condition": {"age": 90}},
            ]
        },
    }
    found = {finding.check: finding for finding in judge(_rules(told), "home")}
    assert statuses(found) == {"versioning": "ok", "soft_delete": "note", "retention": "problem", "lifecycle": "note"}
    assert "7 days" in found["soft_delete"].said
    assert "within 2 days" in found["retention"].said
    assert statuses({finding.check: finding for finding in judge(_rules({}), "")}) == {
        "versioning": "ok",
        "soft_delete": "ok",
        "retention": "ok",
        "lifecycle": "ok",
    }


def test_holds_and_archives():
    rules = BucketRules(held=True, lifecycle=[Lifecycle("cold", ("",), "archives")])
    found = {finding.check: finding for finding in judge(rules, "")}
    assert found["retention"].status == "problem"
    assert "cannot be read at once" in found["lifecycle"].said


def test_other_stores_have_no_such_rules(tmp_path):
    assert asyncio.run(look("memory://x")) == asyncio.run(look(tmp_path.as_uri())) == []
