"""Prometheus counters and histograms, on the server's own ``/metrics``."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

REQUESTS = Counter(
    "cloudcontents_store_requests",
    "Requests sent to a store, retries included.",
    ["scheme", "operation", "outcome"],
)
SECONDS = Histogram(
    "cloudcontents_store_request_seconds",
    "Time from a request to a store until its answer (for reads: until the first byte).",
    ["scheme", "operation"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
RETRIES = Counter("cloudcontents_store_retries", "Requests sent again after a passing failure.", ["scheme", "operation"])
READ_BYTES = Counter("cloudcontents_store_read_bytes", "Bytes of objects read from a store.", ["scheme"])
WRITTEN_BYTES = Counter("cloudcontents_store_written_bytes", "Bytes of objects written to a store.", ["scheme"])
CONFLICTS = Counter("cloudcontents_conflicts", "Saves refused because somebody else had saved.", ["scheme"])
UPLOADS = Counter("cloudcontents_uploads", "Uploads by what became of them.", ["scheme", "outcome"])
UPLOADED_BYTES = Counter("cloudcontents_uploaded_bytes", "Bytes received by uploads.", ["scheme"])
