"""Who may import whom, so that the house stays a house."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import unveil

PACKAGE = Path(unveil.__file__).parent
LEAVES = {"types", "errors", "files", "machine", "progress", "addresses", "storage"}
# What each room may import besides the leaves and itself.
MAY_IMPORT = {
    "errors": set(),
    "types": {"errors", "files"},
    "files": {"errors"},
    "addresses": {"errors"},
    "storage": {"addresses", "errors", "files"},
    "machine": set(),
    "native": set(),
    "progress": set(),
    "engine": set(),
    "images": set(),
    "faces": set(),
    "channels": {"faces"},
    "store": set(),
    "compare": {"engine", "native"},
    "stats": set(),
    "planted": {"images"},
    "work": {"engine", "images", "channels", "store"},
    "presets": {"images"},
    "published": {"addresses", "errors", "storage"},
    "config": {"channels", "compare", "engine", "images", "presets", "published"},
    "result": {"stats"},
    "run": {"compare"},
    "steps": {
        *("images", "channels", "store", "compare", "stats", "planted", "work", "engine", "config", "result", "run"),
        "presets",
    },
    "finished": {"channels", "compare", "config", "images", "presets", "result", "run", "stats", "steps"},
    "review": {"channels", "finished", "images", "result", "stats", "steps", "work"},
    "remedy": {
        *("auditor", "channels", "compare", "config", "finished", "images", "report", "result", "stats", "steps"),
        *("presets", "words", "work"),
    },
    "words": {"config", "result", "stats"},
    "report": {"images", "result", "stats", "words"},
    "auditor": {
        "channels",
        "config",
        "finished",
        "engine",
        "images",
        "planning",
        "published",
        "report",
        "result",
        "review",
        "run",
        "stats",
        "steps",
        "words",
    },
    "inspection": {"channels", "engine", "images", "presets", "report", "steps", "work"},
    "demo": {"auditor", "result"},
    "planning": {
        *("channels", "compare", "config", "images", "steps", "store", "work"),
    },
    "cli": {
        "auditor",
        "planning",
        "compare",
        "config",
        "demo",
        "faces",
        "images",
        "inspection",
        "presets",
        "published",
        "finished",
        "report",
        "result",
        "remedy",
        "review",
        "steps",
        "study",
        "words",
    },
    "study": {"auditor", "config", "images", "presets", "report", "result", "words"},
    "__init__": {"auditor", "compare", "remedy", "result", "steps"},
    "__main__": {"cli"},
}
# Heavy libraries and the only rooms that may touch them.
ONLY_IN = {
    "onnxruntime": {"faces", "compare"},
    "onnx": {"faces", "compare"},
    "torch": {"compare", "faces"},
    "onnx2torch": {"faces"},
    "platformdirs": {"faces", "storage"},
    "ctypes": {"native"},
    "dlib": {"faces"},
    "cv2": {"faces", "channels", "planted"},
    "PIL": {"images", "report", "demo", "channels", "review", "planning"},
    "imagehash": {"channels"},
    "pyarrow": {"images", "report", "finished", "review"},
    "starlette": {"review"},
    "uvicorn": {"review"},
    "sqlite3": {"review"},
    "cattrs": {"finished"},
    "fsspec": {"addresses"},
    "ray": {"engine"},
    "pyfive": {"images"},
    "msgpack": {"images"},
    "scipy": {"stats"},
    "jinja2": {"report"},
    "typer": {"cli"},
    "rich": {"cli"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> set[str]:
    """Full names of the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "unveil" else {node.module}
            )
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_rooms_import_what_they_may(file: Path) -> None:
    room = room_of(file)
    allowed = MAY_IMPORT[room] | LEAVES | {room}
    if room in LEAVES:
        allowed = MAY_IMPORT[room] | {room}
    for name in imports_of(file):
        top, _, rest = name.partition(".")
        if top == "unveil" and rest:
            used = rest.split(".")[0]
            assert used in allowed or used == "__version__", f"{room} imports {used}"
        if top in ONLY_IN:
            assert room in ONLY_IN[top], f"{room} imports {top}"


def test_rooms_are_not_imported_in_circles() -> None:
    order: list[str] = []
    left = {room: set(others) for room, others in MAY_IMPORT.items()}
    while left:
        free = [room for room, others in left.items() if not others - set(order)]
        assert free, f"a circle among {sorted(left)}"
        order += free
        for room in free:
            del left[room]


def test_statistics_see_arrays_only() -> None:
    for file in (PACKAGE / "stats").glob("*.py"):
        outside = {n for n in imports_of(file) if n.startswith("unveil.") and not n.startswith("unveil.stats")}
        assert outside <= {"unveil.types"}, file.name


def test_input_is_never_checked_by_assert() -> None:
    for file in FILES:
        assert not [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Assert)], file
