"""The corpus of names that have broken systems like this one, and what must become of each.

A name stands as a route has it after percent-decoding. The expectation is that of a store which can hold any good name; a store's
own limits (`Capabilities.max_segment_bytes`) may refuse more, and must then refuse, never alter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

#: ``ok``: it is a name like any other and comes back as it was given. ``refuse``: 400, nothing is stored. ``not-found``: 404 for every
#: verb, as if nothing was there.
Expectation = Literal["ok", "refuse", "not-found"]


class Name(NamedTuple):
    """One name of the corpus."""

    group: str
    raw: str
    expect: Expectation


def _group(group: str, expect: Expectation, *names: str) -> list[Name]:
    return [Name(group, name, expect) for name in names]


_CONTROLS = [chr(code) for code in (*range(0x01, 0x20), 0x7F)]

#: Every name, each once.
CORPUS: Sequence[Name] = (
    # Out of the root.
    *_group("traversal", "not-found", "..", "../", "/..", "../x", "../../x", "../../../../../../etc/passwd", "a/..", "a/../b"),
    *_group("traversal", "not-found", "a/../../b", "a/b/../../..", "/../x", "../data-secret", "..//x", "a/../", "x/../.cloudcontents"),
    *_group("traversal-like", "ok", "...", "....", "..a", "a..", "a..b", "..a/b", ".. ", " ..", "%2e%2e", "%2e%2e%2fx", "..%2fx"),
    *_group("traversal-like", "ok", "%252e%252e%252f", "..\\x", "..\\..\\x", "a\\..\\b", "C:\\x", "C:", "c:/x", "\\\\host\\share", "~root"),
    *_group(
        "traversal-like", "ok", "~", "~/x", "/abs", "/etc/passwd", "\u2025", "\uff0e\uff0e", "\uff0e\uff0e\uff0fx", "a\u2215b", "a\u2044b"
    ),
    # Segments that no path can have.
    *_group("segments", "refuse", ".", "./x", "x/.", "a/./b", "a//b", "//x", "//host/share", "a//", "///", "x//y//z", "././.", "/./"),
    # What would break a log line or a header.
    *_group("control", "refuse", *(f"a{control}b" for control in _CONTROLS)),
    *_group("control", "refuse", "\x00", "a\x00", "\x00b", "a/\x00/b", "x\r\nSet-Cookie: a=b", "\x1b[31mred\x1b[0m", "a\n", "\tb"),
    *_group("encoding", "refuse", "\ud800", "a\udfffb", "\udcff", "d\udc80/x"),
    # Text that is only unusual.
    *_group("bidi", "ok", "a\u202eb.txt", "\u202egpj.exe", "a\u200bb", "\u2066x\u2069", "\ufeffx", "a\u2028b", "a\u2029b", "a\u0085b"),
    *_group("unicode", "ok", "caf\u00e9", "cafe\u0301", "\u00df", "ss", "\u0130", "\u0131", "\ufb01", "\u212b", "\u00c5", "\U0001f4d3"),
    *_group(
        "unicode", "ok", "\u4f60\u597d/\u4e16\u754c", "\u0627\u0644\u0639", "\u0e01\u0e34", "e\u0301\u0302\u0303", "\U0010ffff", "\uffff"
    ),
    *_group("case", "ok", "A", "a", "README", "readme", "ReadMe", "d/F", "D/f"),
    *_group(
        "escapes", "ok", "test%46.txt", "a+b", "a%2Bb", "a%20b", "a#b", "a?b", "a?b=c&d=e", "a%", "%", "%%", "a%25b", "%00", "a%0d%0ab"
    ),
    *_group("escapes", "ok", "a%2Fb", "a;b", "a=b", "a&b", "a@b", "a:b", "a,b", "a$b", "a!b", "a*b", "a|b", "a<b>", 'a"b', "a'b", "a`b"),
    *_group("escapes", "ok", "a^b", "a{b}", "[b]", "(b)", "{{7*7}}", "${x}", "<img src=x onerror=alert(1)>", "'; DROP TABLE x;--", "$(id)"),
    *_group("spaces", "ok", " ", " a", "a ", "  ", "a  b", " a /b", "a/ b", "\u00a0", "\u3000", "a \u2003b"),
    *_group("dots", "ok", "a.", "a./b", "a.b.c", "a.tar.gz", "x."),
    *_group("hidden", "ok", ".hidden", ".a/b", "a/.b", ".ipynb_checkpoints", ".ipynb_checkpoints/x", ".~x", ".s3keep", ".gcskeep"),
    *_group("ours", "refuse", ".cloudcontents", ".cloudcontents/", ".cloudcontents/x", "a/.cloudcontents", "a/.cloudcontents/b"),
    *_group("ours", "refuse", ".CloudContents", ".CLOUDCONTENTS/x", "a/.cloudContents/trash", ".cloudcontents/checkpoints/a"),
    *_group(
        "ours-like", "ok", "cloudcontents", ".cloudcontents2", ".cloudcontent", "a.cloudcontents", ".cloudcontents.txt", "..cloudcontents"
    ),
    *_group("devices", "ok", "CON", "nul", "aux.txt", "LPT1", "desktop.ini", ".DS_Store", "Thumbs.db", "$RECYCLE.BIN"),
    *_group(
        "routes",
        "ok",
        "checkpoints",
        "trust",
        "files",
        "api",
        "api/contents",
        "a/checkpoints",
        "a/trust",
        "checkpoints/x",
        "x/checkpoints/1",
    ),
    *_group("leading", "ok", "-", "--", "-rf", "--help", "_", "#a", "@", "!", "0", "-1", "null", "None", "true", "undefined", "NaN"),
    *_group("sorting", "ok", "d!", "d-", "d.txt", "d/x", "d0", "dx", "e/f!/g", "e/f/g", "e/f0"),
    *_group("markers", "ok", "d_$folder$", "a/x_$folder$", "hdi_isfolder", "m/.s3keep"),
    *_group("length", "ok", "a" * 200, "b" * 255, "\u00e9" * 127, "/".join(["n"] * 200), "l/" * 100 + "x"),
    *_group("length", "refuse", "a" * 5000, "/".join(["x" * 100] * 60), "\u00e9" * 3000),
)


def names(expect: Expectation, group: str | None = None) -> list[str]:
    """The names with one expectation, of one group or of all."""
    return [name.raw for name in CORPUS if name.expect == expect and group in (None, name.group)]


def groups(expect: Expectation) -> list[str]:
    """The groups that hold a name with this expectation, in order."""
    return list(dict.fromkeys(name.group for name in CORPUS if name.expect == expect))
