"""Runs the cells of a notebook one after another and writes what they print and show as JSON.

    python notebook_cells.py NOTEBOOK OUTPUTS

The kernel is ipykernel's own, inside this process. A kernel of its own process speaks through
sockets whose wake-ups some virtual machines lose: a cell then ends and nobody hears of it.
"""

import json
import os
import sys
from pathlib import Path

import nbformat
from ipykernel.inprocess.manager import InProcessKernelManager


def outputs_of(client, code: str) -> list[dict]:
    """What a cell prints and shows, message by message; an error of it is one of them."""
    client.execute(code)
    outputs = []
    while client.iopub_channel.msg_ready():
        said = client.get_iopub_msg()
        if said["msg_type"] in ("stream", "display_data", "execute_result", "error"):
            outputs.append(said["content"])
    return outputs


def main(notebook: Path, written: Path) -> None:
    # As a kernel of its own process sets it: figures are shown as outputs of their cells.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    manager = InProcessKernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    outputs: list[dict] = []
    for cell in nbformat.read(notebook, 4).cells:
        if cell.cell_type == "code":
            outputs += outputs_of(client, cell.source)
            if outputs and "traceback" in outputs[-1]:
                break
    written.write_text(json.dumps(outputs, default=repr))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
