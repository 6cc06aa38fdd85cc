"""The text of a saved notebook is byte for byte the one that nbformat writes."""

from __future__ import annotations

import copy
import json

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4.nbjson import BytesEncoder

from cloudcontents.notebook_text import _dumps, notebook_text

TEXT = 'one\ntwo\r\nthree\u2028four\x0bé😀"\\\x7f\n'
METADATA = {"trusted": True, "tags": ["a", "b"], "deep": {"empty": {}, "none": None, "list": [], "numbers": [1, 2.5, True, [1e300]]}}


def cell(kind, **more):
    return {"cell_type": kind, "id": f"{kind}-1", "metadata": dict(METADATA), "source": TEXT, **more}


def code(*outputs, **more):
    return cell("code", execution_count=1, outputs=list(outputs), **more)


BUNDLE = {
    "text/plain": TEXT,
    "application/javascript": TEXT,
    "image/svg+xml": TEXT,
    "image/png": "iVBO\nRw0K",
    "application/json": {"b": [1], "a": TEXT},
}
CELLS = {
    "none": [],
    "markdown": [cell("markdown", attachments={"a.png": dict(BUNDLE)})],
    "raw": [cell("raw", source="")],
    "lines": [cell("markdown", source=TEXT.splitlines(True))],
    "stream": [
        code({"output_type": "stream", "name": "stdout", "text": TEXT}, {"output_type": "stream", "name": "stderr", "text": [TEXT]})
    ],
    "display": [code({"output_type": "display_data", "data": dict(BUNDLE), "metadata": {"image/png": {"width": 3}}})],
    "result": [code({"output_type": "execute_result", "execution_count": 2, "data": dict(BUNDLE), "metadata": {}})],
    "error": [code({"output_type": "error", "ename": "E", "evalue": TEXT, "traceback": [TEXT, ""]})],
    "invalid": [code({"output_type": "stream", "name": "stdout", "text": 7}, unknown=1)],
    "unknown output": [code({"output_type": "other"})],
}


@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)
def test_as_nbformat_writes_it(cells):
    metadata = {"orig_nbformat": 3, "signature": "x", "kernelspec": {"name": "python3"}}
    node = nbformat.from_dict({"cells": copy.deepcopy(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
    before = copy.deepcopy(node)
    told, found = {}, {}
    expected = nbformat.writes(node, version=nbformat.NO_CONVERT, capture_validation_error=told)
    assert notebook_text(node, found) == expected
    assert node == before, "the notebook itself is left as it is"
    assert set(found) == set(told)


def test_other_versions():
    node = nbformat.from_dict({"worksheets": [{"cells": [], "metadata": {}}], "metadata": {}, "nbformat": 3, "nbformat_minor": 0})
    assert notebook_text(node, {}) == nbformat.writes(node, version=nbformat.NO_CONVERT)


@pytest.mark.parametrize(
    "broken",
    [
        {"cells": None, "metadata": {}},
        {"cells": [], "metadata": None},
        {"cells": [{"cell_type": "code"}], "metadata": {}},
        {"cells": [7], "metadata": {}},
        {"metadata": {}},
    ],
)
def test_what_nbformat_refuses_is_refused(broken):
    node = nbformat.from_dict({**broken, "nbformat": 4, "nbformat_minor": 5})
    with pytest.raises(Exception) as theirs:
        nbformat.writes(node, version=nbformat.NO_CONVERT)
    with pytest.raises(type(theirs.value)):
        notebook_text(node, {})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.lists(st.text(), max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_json_as_the_slow_encoder_writes_it(value):
    expected = json.dumps(value, cls=BytesEncoder, ensure_ascii=False, indent=1, sort_keys=True, separators=(",", ": "))
    assert _dumps(value, "\n") == expected
