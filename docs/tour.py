"""Run the notebook tour.ipynb of this folder and store it with its outputs.

    python -m docs.tour

The datasets and runs that it makes are below runs/tour; TOUR_FOLDER and TOUR_MINUTES choose another folder and how long
each net trains, in minutes.
"""

import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("tour.ipynb")
LINES = 12  # of a command's output that are kept, the last ones
MINUTES = 20  # a cell may take


def run(path: Path = NOTEBOOK) -> nbformat.NotebookNode:
    """Run a notebook in the root of the repository, with this Python.

    Args:
        path: of the notebook.

    Returns:
        the notebook with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell has failed; the message has its code and its error.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=60 * MINUTES, kernel_name="python3", resources={"metadata": {"path": str(path.parent.parent)}}
    )
    client.execute()
    return notebook


def shorten(text: str) -> str:
    """Keep the last lines of what a command printed: of a line that was written over, what stayed; no colors.

    Args:
        text: of the terminal.
    """
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    lines = [line for line in lines if line]
    return "\n".join(["..."] * (len(lines) > LINES) + lines[-LINES:]) + "\n"


def shorten_outputs(notebook: nbformat.NotebookNode) -> None:
    """Shorten what the commands printed, and drop what would differ at each run: times, and warnings of the kernel.

    Args:
        notebook: is changed in place.
    """
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        printed = [output.text for output in cell.outputs if output.get("name") == "stdout"]
        others = [output for output in cell.outputs if output.output_type != "stream"]
        if printed:
            others.insert(0, nbformat.v4.new_output("stream", name="stdout", text=shorten("".join(printed))))
        cell.outputs = others


if __name__ == "__main__":
    done = run()
    shorten_outputs(done)
    nbformat.write(done, NOTEBOOK)
    print(f"{NOTEBOOK}: {NOTEBOOK.stat().st_size / 1024:.0f} KB", file=sys.stderr)
