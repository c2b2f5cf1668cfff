"""The documentation and the program agree: nothing public is missing from the reference, nothing documented is absent.

The pages come from the functions that `make docs` uses; the site itself is built by `make docs` only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from inspect import getdoc, isclass, isroutine
from pathlib import Path

import pytest

from tools import draw_architecture, reference
from unveil.config.settings import SETTINGS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FRONT = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
WRITTEN = [*FRONT, *sorted(DOCS.rglob("*.md"))]
# Tables that programs write, and the names of former versions: not prose about this one.
NOT_PROSE = {DOCS / "figures"}
PROSE = [page for page in WRITTEN if not NOT_PROSE & set(page.parents)]


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return reference.pages()


# Nothing is missing


def test_public_names_are_documented(generated: dict[str, str]) -> None:
    for package, names in reference.public_packages().items():
        module = import_module(package)
        page = generated["reference/python.md" if package == "unveil" else "reference/packages.md"]
        section = page if package == "unveil" else page.partition(f"::: {package}\n")[2].partition(":::")[0]
        for name in names:
            value = getattr(module, name)
            assert f"::: unveil.{name}\n" in section if package == "unveil" else f"- {name}\n" in section
            if isclass(value) or isroutine(value):
                assert getdoc(value), f"{package}.{name} has no docstring"


def test_commands_and_options_are_documented(generated: dict[str, str]) -> None:
    sections = dict(re.findall(r"^## `(.+?)`\n(.*?)(?=^## |\Z)", generated["reference/commands.md"], re.S | re.M))
    commands = reference.commands()
    assert set(sections) == set(commands)
    assert len(commands) > 15
    for name, command in commands.items():
        for option in reference.option_names(command):
            assert re.search(rf"`[^`]*{option}(?![\w-])", sections[name]), f"{name} {option}"
            assert re.search(rf"{option}(?![\w-])[^\n]*\| [^|]{{5,}}\|$", sections[name], re.M), (
                f"{name} {option} has no help"
            )


def test_settings_are_documented(generated: dict[str, str]) -> None:
    assert len(SETTINGS) > 20
    options = reference.option_names(reference.commands()["unveil audit"])
    for name, setting in SETTINGS.items():
        cells = rf"^\| `{name}`( \*)?<br>`(.+?)` \| .{{3,}}? \| .*? \| .{{5,}} \|$"
        row = re.search(cells, generated["reference/settings.md"], re.M)
        assert row, name
        assert row[2] == setting.option
        assert row[2] in options


def test_fields_of_the_document_are_documented(generated: dict[str, str]) -> None:
    page, schema = generated["reference/audit-json.md"], reference.schema()
    fields = [path for path, _ in reference.schema_fields(schema)]
    assert {"verdict", "people[].person", "pairs_compared"} <= set(fields)
    for path in fields:
        assert re.search(
            rf"^## `{re.escape(path)}`\n\n[A-Z]|^\| `{re.escape(path)}` \|.*\| [^|]{{5,}}\|$", page, re.M
        ), path
    for name, node in schema["$defs"].items():
        section = page.partition(f"### `{name}`\n")[2].partition("\n### ")[0]
        for path, _ in reference.schema_fields(node):
            assert f"`{path}`" in section, f"{name}.{path}"


def test_every_package_is_in_the_architecture() -> None:
    table = (DOCS / "explanation" / "architecture.md").read_text("utf-8").partition("## ")[0]
    named = {name for row in re.findall(r"^\| (`.*?`) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert named == draw_architecture.packages()


def test_the_figure_is_that_of_the_source() -> None:
    stored = draw_architecture.FIGURE.read_text("utf-8")
    assert stored == draw_architecture.figure(), "run: python tools/draw_architecture.py"


# Nothing documented is absent


def code_of(text: str) -> Iterator[str]:
    """Lines of code blocks, continued lines joined, and inline code."""
    blocks = re.findall(r"^(?:    |\t)+(.*)$", text.replace("\\\n", " "), re.M)
    yield from blocks
    for fenced in re.findall(r"^```.*?\n(.*?)^```", text.replace("\\\n", " "), re.S | re.M):
        yield from fenced.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


def command_lines() -> Iterator[tuple[Path, str]]:
    for page in PROSE:
        for line in code_of(page.read_text("utf-8")):
            line = re.sub(r"^(\S*/)?\.venv/bin/", "", line.strip().partition("#")[0])
            if re.match(r"unveil [a-z]", line):
                yield page, line


def test_documented_commands_exist() -> None:
    commands = reference.commands()
    seen = 0
    for page, line in command_lines():
        words = line.split()
        depth = max(n for n in range(1, 4) if " ".join(words[:n]) in commands)
        name = " ".join(words[:depth])
        where = f"{page.relative_to(ROOT)}: {line}"
        assert depth > 1, where
        assert depth == 3 or not getattr(commands[name], "commands", {}) or len(words) == 2, where
        known = {*reference.option_names(commands[name]), "--help"}
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", line):
            assert option in known, f"{where}: {name} has no {option}"
        seen += 1
    assert seen > 40


def test_documented_options_exist() -> None:
    """Options that stand by themselves, such as `--fdr`, belong to some command."""
    known = {option for command in reference.commands().values() for option in reference.option_names(command)}
    for page in PROSE:
        for code in code_of(page.read_text("utf-8")):
            if code.startswith("--"):
                for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", code):
                    assert option in known | {"--help"}, f"{page.relative_to(ROOT)}: {code}"


def test_documented_fields_exist() -> None:
    """Tables with the heading `field` or `number` name fields of audit.json, in full or by their last part."""
    schema = reference.schema()
    fields = {path for path, _ in reference.schema_fields(schema)}
    last = {re.split(r"[.\]]", path)[-1] for path in fields}
    seen = 0
    for page in PROSE:
        for table in re.findall(r"^\| (?:field|number) \|.*\n\|[-|]+\n((?:\|.*\n)+)", page.read_text("utf-8"), re.M):
            for code in re.findall(r"`([^`]+)`", "\n".join(row.split(" | ")[0] for row in table.splitlines())):
                path = re.sub(r"\[\d+\]", "[]", code)
                assert path in fields or path in last, f"{page.relative_to(ROOT)}: {code}"
                seen += 1
    assert seen > 8


def test_new_names_of_the_changelog_exist() -> None:
    """The table of fields in the changelog gives the present name of each former one."""
    fields = {path for path, _ in reference.schema_fields(reference.schema())}
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    (table,) = re.findall(r"^\| field of version 1 \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.M)
    names = [(old, new) for old, new in (row.strip("| ").split(" | ") for row in table.splitlines())]
    assert len(names) > 20
    for old, new in names:
        for field in re.findall(r"`([^`]+)`", new):
            assert field in fields, field
        assert not set(re.findall(r"`([^`]+)`", old)) & fields - {"rejects"}, old


def test_documented_names_and_files_exist() -> None:
    folders = ("src/", "tests/", "tools/", "benchmarks/", "studies/", "examples/", "docs/")
    for page in PROSE:
        for code in code_of(page.read_text("utf-8")):
            where = f"{page.relative_to(ROOT)}: {code}"
            if code.startswith(folders) and " " not in code and "*" not in code:
                assert (ROOT / code).exists(), where
            if re.fullmatch(r"unveil(\.\w+)+", code) and not code.endswith(("toml", "json")):
                assert resolves(code), where


def test_functions_are_where_the_documents_say() -> None:
    seen = 0
    for page in PROSE:
        for name, file in re.findall(r"`(\w+)` (?:in|of) `(src/[\w/]+\.py)`", page.read_text("utf-8")):
            source = (ROOT / file).read_text("utf-8")
            where = f"{page.relative_to(ROOT)}: {name} in {file}"
            assert re.search(rf"^(?:def|class) {name}\b|^{name}\b.*=", source, re.M), where
            seen += 1
    assert seen > 5


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or a name in one."""
    try:
        import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return bool(module) and hasattr(import_module(module), name)
    return True


def test_targets_are_documented_and_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.M))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.M)
    contributing = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert [name for name in phony.split() if not re.search(rf"make {name}\b", contributing)] == []
    for page in PROSE:
        for code in code_of(page.read_text("utf-8")):
            if match := re.match(r"make ([a-z][\w-]*)", code):
                assert match[1] in targets, f"{page.relative_to(ROOT)}: {code}"


def test_documented_variables_exist() -> None:
    code = "".join(f.read_text("utf-8") for f in [ROOT / "hatch_build.py", *(ROOT / "src").rglob("*.py")])
    for page in PROSE:
        for name in re.findall(r"\bUNVEIL_[A-Z_]+\b", page.read_text("utf-8")):
            assert name in code, f"{page.relative_to(ROOT)}: {name}"


def test_the_channel_of_the_guide_is_the_tested_one() -> None:
    (shown,) = re.findall(
        r"```python\n(class MeanColour.*?)```", (DOCS / "how-to" / "extend.md").read_text("utf-8"), re.S
    )
    assert shown in (ROOT / "tests" / "channels" / "test_adding.py").read_text("utf-8")


def test_files_of_a_run_are_documented() -> None:
    """Every file that the program writes to a run is named in the documentation."""
    packages = [f for name in ("runs", "report", "mitigation") for f in (ROOT / "src/unveil" / name).rglob("*.py")]
    source = "".join(f.read_text("utf-8") for f in (*packages, ROOT / "src/unveil/io/run_directory.py"))
    written = set(re.findall(r'"(?:stores/)?([a-z.]+\.(?:parquet|json|html|npz|sqlite|md|xml|txt))"', source))
    assert {"audit.json", "people.parquet", "report.redacted.html"} <= written
    text = "".join(page.read_text("utf-8") for page in PROSE)
    for name in written:
        assert name in text, name


def test_links_resolve(generated: dict[str, str]) -> None:
    anchors = {path: headings(text) for path, text in generated.items()}
    anchors |= {str(page.relative_to(DOCS)): headings(page.read_text("utf-8")) for page in DOCS.rglob("*.md")}
    seen = 0
    for page in [*WRITTEN, ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", page.read_text("utf-8"))):
            if target.startswith(("http://", "https://")):
                continue
            where = f"{page.relative_to(ROOT)}: {target}"
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            inside = str(file.relative_to(DOCS)) if file.is_relative_to(DOCS) else None
            assert file.exists() or inside in generated, where
            if anchor:
                assert anchor in (anchors[inside] if inside in anchors else headings(file.read_text("utf-8"))), where
            seen += 1
    assert seen > 100


def headings(text: str) -> set[str]:
    """The anchors of a page."""
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    return {reference.anchor(title) for title in re.findall(r"^#+ (.+)$", without_code, re.M)}


def test_pages_are_reachable() -> None:
    """Every page stands in the navigation, which `make docs` checks against the files."""
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in [*DOCS.rglob("*.md")]:
        assert str(page.relative_to(DOCS)) in navigation
    for path in reference.pages():
        assert path in navigation
