"""The documentation as a site: ``python -m sphinx -W docs build/site`` (extra ``docs``)."""

import json
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx

from bundle.version import __version__

project = "Lung nodule CT reconstruction"
author = "The developers of lung_nodule_ct_reconstruction"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".ipynb": "notebook"}
# what the model zoo wants to be told, in its own form; tables of the example, which its report holds too
exclude_patterns = ["README.md", "example_report/[!R]*.md"]
html_theme = "furo"
html_title = project
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True


class NotebookParser(MystParser):
    """A notebook as it was last run: its words, its code, what it printed and drew."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Parse it as the page of Markdown that it amounts to."""
        super().parse("\n\n".join(_cell(cell) for cell in json.loads(inputstring)["cells"]), document)


def _cell(cell: dict[str, Any]) -> str:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return text
    parts = [f"```python\n{text}\n```"]
    for output in cell["outputs"]:
        if printed := "".join(output.get("text", "")):
            parts.append(f"```text\n{printed.rstrip()}\n```")
        elif picture := output.get("data", {}).get("image/png"):
            parts.append(f"![drawn by the cell above](data:image/png;base64,{''.join(picture).strip()})")
    return "\n\n".join(parts)


def setup(app: Sphinx) -> None:
    """Let Sphinx read notebooks."""
    app.add_source_parser(NotebookParser)
