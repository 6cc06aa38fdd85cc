"""`python -m benchmarks [disk | peers | latency | uploads]`; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Run one of the comparisons."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Side by side with others, in one run.")
    parser.add_argument(
        "what",
        nargs="?",
        choices=("disk", "peers", "latency", "uploads"),
        default="disk",
        help="disk: file:// beside Jupyter Server's own manager; peers: MinIO beside other S3 managers; "
        "latency: every cloud with time added to each request; uploads: each door beside boto3 and s3contents",
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server (default 5)")
    parser.add_argument("--gib", type=float, default=1.0, help="size of the big file (default 1)")
    parser.add_argument("--only", metavar="TEXT", default="", help="rows whose name contains this")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures there as well")
    options = parser.parse_args()
    if options.what == "disk":
        from .disk import run
    elif options.what == "peers":
        from .peers import run
    elif options.what == "uploads":
        from .uploads import run
    else:
        from .latency import run
    run(options.rounds, options.only, options.gib, options.json)


if __name__ == "__main__":
    main()
