"""The text of a notebook, byte for byte as `nbformat.writes` makes it, in half the time.

nbformat copies the whole notebook deeply before it splits the lines, and indents with Python's slow JSON encoder. Here only what the
splitting changes is copied, and lists of lines, which is what notebooks are made of, are written at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4.nbjson import BytesEncoder
from nbformat.v4.rwbase import split_lines, strip_transient


class _OtherError(Exception):
    """Something that parsed JSON does not hold."""


def notebook_text(node: Any, validation_error: dict[str, Any]) -> str:
    """The text of a notebook, which is left as it is.

    Args:
        node: The notebook, in its own version of the format.
        validation_error: Is told what is invalid in it.

    Raises:
        Exception: Whatever nbformat stumbles over.
    """
    if node.get("nbformat") != 4:
        return str(nbformat.writes(node, version=nbformat.NO_CONVERT, capture_validation_error=validation_error))
    try:
        nbformat.validate(node)
    except nbformat.ValidationError as error:
        validation_error["ValidationError"] = error
    try:
        return _dumps(strip_transient(split_lines(_copied(node))), "\n")
    except (AttributeError, KeyError, TypeError, ValueError, _OtherError):
        return str(nbformat.v4.writes(node))  # and if that fails, its own words tell why


def _copied(node: Any) -> NotebookNode:
    """A copy of what `split_lines` and `strip_transient` change; all else is shared."""
    copy = NotebookNode(node)
    copy.metadata = NotebookNode(node.metadata)
    copy.cells = [_cell(cell) for cell in node.cells]
    return copy


def _cell(cell: Any) -> NotebookNode:
    copy = NotebookNode(cell)
    copy.metadata = NotebookNode(cell.metadata)
    if "attachments" in cell:
        copy.attachments = NotebookNode({name: NotebookNode(bundle) for name, bundle in cell.attachments.items()})
    if "outputs" in cell:
        copy.outputs = [_output(output) for output in cell.outputs]
    return copy


def _output(output: Any) -> NotebookNode:
    copy = NotebookNode(output)
    if isinstance(output.get("data"), Mapping):
        copy["data"] = NotebookNode(output["data"])
    return copy


def _dumps(value: Any, line: str) -> str:
    """As ``json.dumps(value, cls=BytesEncoder, ensure_ascii=False, indent=1, sort_keys=True, separators=(",", ": "))``.

    Args:
        value: What parsed JSON holds.
        line: The line break before whatever stands beside this value, with its indentation.
    """
    inner = line + " "
    if isinstance(value, dict) and value:
        members = []
        for name in sorted(value):
            if type(name) is not str:
                raise _OtherError
            members.append(f"{_plain(name)}: {_dumps(value[name], inner)}")
        return f"{{{inner}{f',{inner}'.join(members)}{line}}}"
    if isinstance(value, list) and value:
        if set(map(type, value)) == {str}:
            return f"[{inner}{f',{inner}'.join(map(encode_basestring, value))}{line}]"
        return f"[{inner}{f',{inner}'.join([_dumps(item, inner) for item in value])}{line}]"
    if isinstance(value, tuple):
        raise _OtherError
    return _plain(value)


_plain = json.JSONEncoder(ensure_ascii=False, check_circular=False, default=BytesEncoder().default).encode
