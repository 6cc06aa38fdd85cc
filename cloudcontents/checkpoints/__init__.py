"""Checkpoints of notebooks and files, kept in a bucket: many per file, pruned by a retention policy."""

from __future__ import annotations

from .bucket import BucketCheckpoints
from .retention import Retention

__all__ = ["BucketCheckpoints", "Retention"]
