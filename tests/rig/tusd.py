"""tusd, the reference server of tus: what the suites of our own server are calibrated against."""

from __future__ import annotations

from collections.abc import Sequence

from rig.install import go_program
from rig.process import answers
from rig.servers import Server


class Tusd(Server):
    """tusd on one directory; its uploads are at `/files/`, without credentials, and can be read there, too."""

    name = "tusd"
    max_size = 5 * 2**30

    def install(self) -> Sequence[str]:
        return [str(go_program("tusd"))]

    def arguments(self) -> Sequence[str]:
        place = ["-host", "127.0.0.1", "-port", str(self.port), "-upload-dir", str(self.data / "tusd")]
        return [*place, "-base-path", "/files/", "-max-size", str(self.max_size)]

    def ready(self) -> bool:
        return answers(self.port, "/metrics")
