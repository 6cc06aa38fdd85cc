"""Interim responses (104) of the IETF's draft: where they are turned on, to clients that know them; before a body, and of its progress."""

from __future__ import annotations

import re
import socket

import pytest

MIB = 2**20


@pytest.fixture(scope="module", params=[True, False], ids=["on", "off"])
def server(request, start_server):
    return start_server(None, {"CloudContentsManager": {"upload_interim_responses": request.param}})


@pytest.fixture
def is_on(server):
    return server.manager.upload_interim_responses


class Line:
    """One request, its parts sent and its answers read by hand."""

    def __init__(self, server, method, address, length, headers):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        self._rest = b""
        told = {"Host": f"127.0.0.1:{server.port}", "Authorization": f"token {server.token}", "Content-Length": str(length), **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        self.socket.sendall(f"{method} {address} HTTP/1.1\r\n{lines}\r\n".encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def answer(self):
        """The head of the next answer: its status, and its headers by name."""
        while b"\r\n\r\n" not in self._rest:
            more = self.socket.recv(4096)
            assert more, self._rest
            self._rest += more
        head, self._rest = self._rest.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in lines)


def create(server, name, length, **headers):
    told = {"Upload-Complete": "?1", **{key.replace("_", "-"): value for key, value in headers.items()}}
    return Line(server, "POST", f"{server.base}/cloudcontents/uploads?path={name}", length, told)


def test_the_address_is_told_before_the_body_comes(server, is_on, name):
    with create(server, name, 5, Upload_Draft_Interop_Version="8", Expect="100-continue") as line:
        codes = [line.answer() for _ in range(2 if is_on else 1)]
        if is_on:
            code, early = codes.pop(0)
            assert (code, early["Upload-Draft-Interop-Version"]) == (104, "8")
            assert "max-size=" in early["Upload-Limit"]
        assert codes[0][0] == 100, "which a 104 does not stand for"
        line.socket.sendall(b"12345")
        code, told = line.answer()
        assert (code, told["Upload-Complete"]) == (201, "?1")
        if is_on:
            assert re.fullmatch(rf"{server.base}/cloudcontents/uploads/\w+", early["Location"])
            assert told["Location"] == early["Location"]


@pytest.mark.parametrize("version", [{}, {"Upload_Draft_Interop_Version": "99"}, {"Upload_Draft_Interop_Version": "x"}])
def test_who_does_not_name_a_known_version_gets_none(server, name, version):
    with create(server, name, 5, **version) as line:
        line.socket.sendall(b"12345")
        assert line.answer()[0] == 201


def test_progress_is_told_while_bytes_come(server, is_on, name):
    if not is_on:
        return
    data = bytes(17 * MIB)
    with create(server, name, len(data), Upload_Draft_Interop_Version="8") as line:
        assert line.answer()[0] == 104
        line.socket.sendall(data[: 16 * MIB + 1])
        seen = 0
        while seen < 16 * MIB:
            code, told = line.answer()
            assert (code, "Location" in told) == (104, False)
            assert seen < int(told["Upload-Offset"]) <= 16 * MIB, "what is in safety, and no more"
            seen = int(told["Upload-Offset"])
        line.socket.sendall(data[16 * MIB + 1 :])
        while (code := line.answer()[0]) == 104:
            pass
        assert code == 201
