"""docs/tutorial.ipynb runs, and what is kept of its last run is small and says that it is of a phantom."""

import nbclient
import nbformat
import numpy as np
import pytest
from helpers.nodules import ROOT

NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


def cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook, stream="stdout"):
    return "".join(out.get("text", "") for cell in cells(notebook) for out in cell.outputs if out.get("name") == stream)


def pictures(notebook):
    return sum("image/png" in out.get("data", {}) for cell in cells(notebook) for out in cell.outputs)


def test_what_is_kept_is_a_whole_run_of_a_phantom_and_small():
    text, kept = NOTEBOOK.read_text(encoding="utf-8"), nbformat.read(NOTEBOOK, 4)
    assert len(text) < 1_500_000
    assert [cell.execution_count for cell in cells(kept)] == list(range(1, len(cells(kept)) + 1))
    assert "**The nodule here is a phantom**" in kept.cells[0].source
    assert pictures(kept) == 4
    assert printed(kept, "stderr") == ""
    assert str(ROOT) not in text


@pytest.mark.filterwarnings("ignore")
def test_it_runs(tmp_path):
    notebook = nbformat.read(NOTEBOOK, 4)
    (epochs,) = (cell for cell in cells(notebook) if "parameters" in cell.metadata.get("tags", []))
    epochs.source = "EPOCHS = 2"
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    assert pictures(notebook) == 4
    scores = {
        line.split()[0]: float(line.split()[-2]) for line in printed(notebook).splitlines() if line.endswith("dB")
    }
    assert all(np.isfinite(value) for value in scores.values())
    assert scores["prior"] > scores["siren"]  # which was hardly fitted
