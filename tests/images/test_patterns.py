"""Patterns that are matched with what strangers write take a time that grows with its length, and no faster."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.builders import write
from unveil.errors import SourceError
from unveil.images import open_source
from unveil.images.behind import behind_first
from unveil.images.content import HEAD, content_of
from unveil.images.image_like import shows_image
from unveil.io.remote import without_secrets
from unveil.io.text import compatible, composed, decomposed
from unveil.io.web_folder import addresses_in

TEXTS = {
    "comments in a line": b"P1 #" + b" #" * (HEAD // 2) + b"x",
    "comments": b"P1 " + b"#\n " * (HEAD // 3) + b"x",
    "comments that end in returns": b"P5 " + b"# a\r" * (HEAD // 4) + b"x",
    "spaces": b"P1 1" + b" " * HEAD,
    "digits": b"P1 1 " + b"1" * HEAD,
}


def seconds(function: Callable[[], object]) -> float:
    begun = time.process_time()
    function()
    return time.process_time() - begun


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_file_holds_is_known_at_once(name: str) -> None:
    for look in (content_of, shows_image, behind_first):
        assert seconds(lambda look=look: look(TEXTS[name])) < 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "page",
    ["<a " * 10**5, "<a href" * 10**5, "<a href=" * 10**5, "<a href" + " " * 10**5, '<a x="' * 10**5, "<!--" * 10**5],
)
def test_links_of_a_page_are_found_at_once(page: str) -> None:
    assert seconds(lambda: list(addresses_in(page))) < 1


@pytest.mark.parametrize("text", ["a" * 10**5, "conn" * 10**4, "a://" * 10**4])
def test_secrets_of_a_message_are_struck_at_once(text: str) -> None:
    assert seconds(lambda: without_secrets(text)) < 1


def test_a_comment_ends_with_its_line() -> None:
    for between in (b" ", b" # w\n", b"# w\r#\n ", b"\n# w\r\n"):
        assert content_of(b"P5 # made by me\n# 2 of 3\r\n12" + between + b"34# x\n255\n") == "image"
        assert shows_image(b"P5\n12" + between + b"34\n255\n")
    assert content_of(b"P5 # 12 34\n and no numbers") is None


def test_accents_without_end_are_not_sorted() -> None:
    """Unicode's forms sort a run of accents in the square of its length."""
    run = "a" + 32_000 * "\u0301" + 32_000 * "\u0316"
    for form in (composed, decomposed, compatible):
        for accents in (run, "a" + 32_000 * "\u0f73", "a" + 32_000 * "\uff9e\u0316"):
            assert seconds(lambda form=form, text=accents: form(text)) < 1 and form(accents) == accents  # type: ignore[misc]
        assert seconds(lambda form=form: [form(run[31_900:32_150]) for _ in range(100)]) < 1  # type: ignore[misc]
    long = "e\u0301" * 1000
    assert composed(long) == "\u00e9" * 1000 and decomposed(composed(long)) == long


def test_a_map_of_floats_ends_with_its_values() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.ones((32, 48), np.float32)).save(buffer, "PPM")
    assert buffer.getvalue().startswith(b"Pf")
    assert not behind_first(buffer.getvalue()).more and behind_first(buffer.getvalue() + b"more").more


def test_a_list_of_other_names_is_refused_at_once(tmp_path: Path) -> None:
    write(tmp_path / "0.png", b"x")
    source = open_source(tmp_path)
    names, listed = [f"{k}.png" for k in range(20_000)], {f"{k}.png": "x" for k in range(9_000)}

    def refused() -> None:
        with pytest.raises(SourceError, match=r"one is `9000\.png`, the list has `other\.png`"):
            source._check_list(names, {**listed, "other.png": "y"})

    assert seconds(refused) < 1
