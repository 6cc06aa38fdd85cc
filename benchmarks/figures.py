"""What one piece of work took on one server, in all rounds, and how that is summed up."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass
class Figures:
    """What one case took on one server, in all rounds."""

    seconds: list[float] = field(default_factory=list)
    first_byte: list[float] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)
    #: MiB above what the server had at rest before the round.
    memory: list[float] = field(default_factory=list)
    #: Requests to the store, of each operation.
    requests: list[float] = field(default_factory=list)

    #: Seconds of processor time of the server, of each operation.
    processor: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float | None]:
        """Medians; of the pings, which are pooled, percentiles."""
        return {
            "milliseconds": statistics.median(self.seconds) * 1000,
            "fastest": min(self.seconds) * 1000,
            "slowest": max(self.seconds) * 1000,
            "times": len(self.seconds),
            "first_byte_milliseconds": statistics.median(self.first_byte) * 1000 if self.first_byte else None,
            "requests": statistics.median(self.requests) if self.requests else None,
            "processor_milliseconds": statistics.median(self.processor) * 1000 if self.processor else None,
            "ping_p50": percentile(self.pings, 0.50) * 1000 if self.pings else None,
            "ping_p99": percentile(self.pings, 0.99) * 1000 if self.pings else None,
            "ping_max": max(self.pings) * 1000 if self.pings else None,
            "pings": len(self.pings),
            "peak_mib": max(self.memory) if self.memory else None,
        }


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all values does not exceed."""
    return sorted(values)[max(0, -(-int(share * 1000) * len(values) // 1000) - 1)]
