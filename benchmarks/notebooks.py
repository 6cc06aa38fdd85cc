"""Notebooks of a size."""

from __future__ import annotations

import json
from typing import Any


def notebook(cells: int, mark: str = "") -> dict[str, Any]:
    """A notebook with about 5 KB of text in each cell; `mark` tells it from others of its size."""
    line = "The quick brown fox jumps over the lazy dog, again and again.\n"
    return {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "execution_count": number,
                "metadata": {},
                "source": [f"value_{row} = compute({row}, 'some argument')\n" for row in range(20)],
                "outputs": [{"output_type": "stream", "name": "stdout", "text": [line] * 60}],
            }
            for number in range(cells)
        ],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "mark": mark},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def notebook_bytes(cells: int, mark: str = "") -> bytes:
    """The same as a file."""
    return json.dumps(notebook(cells, mark), indent=1).encode()


def as_sent(cells: int, mark: str = "") -> dict[str, Any]:
    """The same as JupyterLab sends it: texts whole, not in lines."""
    found = notebook(cells, mark)
    for cell in found["cells"]:
        cell["source"] = "".join(cell["source"])
        for output in cell["outputs"]:
            output["text"] = "".join(output["text"])
    return found


def text_of(cells: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What the cells say, however the lines are kept: source and output of each."""
    return [("".join(cell["source"]), "".join("".join(output["text"]) for output in cell["outputs"])) for cell in cells]
