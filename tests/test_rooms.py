"""No room leans on one above it: the order of the rooms, read from every import, also from those inside functions."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "heie_hf"

# From the ground up. A room imports from rows below its own, never from its own row or one above.
ORDER = (
    {"modeling", "processing", "pipeline_heie", "files", "text_sources", "visualization", "chat", "checkpoints"},
    {"data", "metrics"},
    {"conversion"},
    {"prediction"},
    {"hub", "annotation"},
    {"training"},
    {"evaluation"},
    {"recipes"},
    {"cli"},
    {"registration"},
    {"registration_watch"},  # what `heie_hf/__init__.py` begins with
)
MODULE_NAME = re.compile(r"heie_hf\.[\w.]+")
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}


def rooms_on_disk() -> set[str]:
    folders = {folder.name for folder in PACKAGE.iterdir() if any(folder.glob("*.py"))}
    files = {file.stem for file in PACKAGE.glob("*.py")}
    return (folders | files | {"modeling", "processing"}) - {"__init__"}


def imported_modules(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that a file of the package imports, wherever in the file.

    A string that is such a name counts too: `importlib.import_module` gets it.
    """
    package = ("heie_hf", *file.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"
        elif isinstance(node, ast.Constant) and MODULE_NAME.fullmatch(str(node.value)):
            yield node.lineno, node.value


def imported_rooms(file: Path) -> Iterator[tuple[int, str]]:
    for line, name in imported_modules(file):
        top, _, rest = name.partition(".")
        if top == "heie_hf":
            yield line, rest.partition(".")[0]


def test_every_room_has_its_floor():
    assert rooms_on_disk() <= set(FLOOR)


@pytest.mark.parametrize("room", sorted(rooms_on_disk() - {"modeling", "processing"}))
def test_no_import_runs_upwards_or_in_a_circle(room):
    """`heie_hf` itself, the face of the whole house, may be asked for its version only."""
    files = [*PACKAGE.glob(f"{room}.py"), *(PACKAGE / room).rglob("*.py")]
    upwards = []
    for file in files:
        for line, imported in imported_rooms(file):
            below = imported in FLOOR and FLOOR[imported] < FLOOR[room]
            if not (below or imported in (room, "__version__")):
                upwards.append(f"{file.relative_to(ROOT)}:{line} imports {imported or 'heie_hf'}")
    assert not upwards
