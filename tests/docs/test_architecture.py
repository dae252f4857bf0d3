"""The page on the architecture names what is there, all of it, and imports run one way."""

import ast
import re
from pathlib import Path

from helpers.nodules import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
# from the ground up; a room may import from its own floor's left and from below
FLOORS = ["stopping", "errors", "options", "version", "files", "lock", "units", "profile", "progress", "cluster",
          "slices", "store", "transforms", "data", "networks", "engines", "inferers",
          "metrics", "label", "report", "study"]  # fmt: skip


def rooms() -> set[str]:
    return {p.stem for p in (ROOT / "bundle").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}


def test_every_room_has_a_line_and_every_named_file_is_there():
    table = PAGE.split("## The one way")[0]
    for room in rooms() - {"__init__"}:
        assert re.search(rf"`{room}(/|\.py)`", table), room
    for name in re.findall(r"`((?:study|data|metrics|inferers|report|tests|configs)/[\w/.]+\.(?:py|json))`", PAGE):
        assert (ROOT / name).exists() or (ROOT / "bundle" / name).exists(), name
    assert len(PAGE.splitlines()) < 80


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bundle."):
            names.add(node.module.split(".")[1])
    return names


def test_no_import_runs_upwards():
    assert rooms() - {"__init__"} == set(FLOORS)
    for path in (ROOT / "bundle").rglob("*.py"):
        parts = path.relative_to(ROOT / "bundle").parts
        room = parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        above = {name for name in imported(path) if FLOORS.index(name) > FLOORS.index(room)}
        assert not above, f"{path} imports from {above}"


def test_every_room_has_a_page_of_its_docstrings_and_every_page_a_place_in_the_site():
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md")}
    index = pages.pop("index")
    shown = set(re.findall(r"automodule:: bundle\.(\w+)", "".join(pages.values())))
    assert {p.parent.name for p in (ROOT / "bundle").glob("*/__init__.py")} <= shown
    assert all(f"\n{name}\n" in index for name in pages)


def test_the_front_page_names_every_document():
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [p.name for p in (ROOT / "docs").glob("*.md") if p.stem != "index" and f"(docs/{p.name})" not in front]
    assert not missing
