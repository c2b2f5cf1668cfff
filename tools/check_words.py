"""Fails where a name or a text that a user sees uses a word that has a private meaning here.

Each word on the left has a standard term on the right. Names are checked in src/, text in messages, docstrings,
templates and documents.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Identifiers that are gone for good, whole or as a part between underscores.
NAMES = {
    "shot": "face_image",
    "way": "image_preprocessor",
    "look": "image_descriptor",
    "lens": "channel_context",
    "equipment": "channel_config",
    "wanted": "query_spec",
    "told": "the verb that says it",
    "kept": "stored",
    "sight": "channel_matches",
    "judge": "inference",
    "foretold": "prognostic_score",
    "foretell": "fit_prognostic_score",
    "likes": "comparable_people",
    "hygiene": "input_checks",
    "picture": "image",
    "pictures": "images",
    "patiently": "with_retries",
    "gathered": "gather_rows",
    "sweep": "remove_stale_temp",
    "equipped": "channel_config",
    "seeing": "inputs",
    "shelf": "thumbnails",
    "stretch": "record_range",
    "stretches": "record_ranges",
    "lookat": "probe",
}
CLASSES = {
    *("Shot", "Way", "Look", "FaceLook", "Lens", "Equipment", "Opened", "Wanted", "Draw", "Judge", "ByScore", "Wins"),
    *("Standard", "Plant", "Change", "Cut", "Stretch", "Lost", "Watch", "Say", "Kept", "Sight", "Ground", "Side"),
    *("Given", "Job", "Verdict", "Kind", "Picture", "Word"),
}
# Words of a sentence, with what to write.
PHRASES = {
    r"pictures?": "image",
    r"told as": "classified as",
    r"could not be had": "is not available",
    r"our own medicine": "auditing the demo model",
    r"rests on": "evidence",
    r"hygiene": "input checks",
    r"blind area": "classifier AUC without the synthetic set",
    r"foretold|foretells?": "prognostic score",
    r"modelled tail": "GPD tail",
    r"shipped cop(y|ies)": "exact copy",
    r"redrawn": "appearance match",
    r"control people like them": "comparable control people",
    r"taken up": "resumed",
    r"stands? out": "exceed",
    r"accidental match(es)?": "false match",
    r"measures of others": "baselines",
    r"hardly": "few, rarely, almost no",
}
TEXTS = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "src/**/*.j2", "src/**/*.html", "src/**/*.json")
# The page that lists the old words, and figures made by earlier versions.
EXEMPT = re.compile(r"docs/figures/|docs/explanation/glossary\.md|docs/decisions/")


def names_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that a module defines or binds, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def texts_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every string with a space in it: messages, help and docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def in_names(file: Path) -> Iterator[str]:
    """The private names of one module of src/."""
    for line, name in names_of(ast.parse(file.read_text("utf-8"))):
        if name in CLASSES:
            yield f"{file}:{line} class or name {name}"
        for part in name.strip("_").split("_"):
            if part in NAMES:
                yield f"{file}:{line} {name}: {NAMES[part]}"


def in_text(place: str, text: str) -> Iterator[str]:
    """The private phrases of one text."""
    for phrase, instead in PHRASES.items():
        for found in re.finditer(rf"\b({phrase})\b", text, re.IGNORECASE):
            line = text.count("\n", 0, found.start())
            yield f"{place}+{line} {found[0]!r}: write {instead}"


def found() -> Iterator[str]:
    """Everything that is left, a line each."""
    for file in sorted((ROOT / "src").rglob("*.py")):
        where = file.relative_to(ROOT)
        yield from (str(one).replace(str(file), str(where)) for one in in_names(file))
        for line, text in texts_of(ast.parse(file.read_text("utf-8"))):
            yield from in_text(f"{where}:{line}", text)
    for pattern in TEXTS:
        for file in sorted(ROOT.glob(pattern)):
            name = str(file.relative_to(ROOT))
            if not EXEMPT.search(name):
                yield from in_text(f"{name}:1", file.read_text("utf-8"))


if __name__ == "__main__":
    left = list(found())
    print("\n".join(left) or "no private word is left")
    sys.exit(bool(left))
