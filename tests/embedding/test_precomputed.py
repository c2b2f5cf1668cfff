"""Embeddings in a file say of every image of their set what became of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.builders import save_embeddings, unit_rows
from unveil.channels.alignment import ImageAlignment
from unveil.columns import Labels
from unveil.embedding.embed import ImageRows, collect
from unveil.embedding.precomputed import read_precomputed, write_embeddings_file
from unveil.embedding.shards import ShardRow
from unveil.images import EmbeddingSource, open_source
from unveil.images.writers.embeddings import write_embeddings
from unveil.types import ChannelVectors


def opened(file: Path) -> EmbeddingSource:
    source = open_source(file)
    assert isinstance(source, EmbeddingSource)
    return source


def test_rejects_are_in_the_file_with_their_label_and_reason(tmp_path: Path) -> None:
    """Without them, an audit of the file could end as none detected, where one of the images is inconclusive."""
    vectors = unit_rows(np.random.default_rng(0), 6, 8)
    vectors[[1, 4]] = 0
    ids, people = [f"{i}.png" for i in range(6)], [f"p{i}" for i in range(6)]
    found = read_precomputed(opened(save_embeddings(tmp_path / "a.npz", vectors, ids, people)), tmp_path / "a.npy")
    write_embeddings_file(found, tmp_path / "b.npz")
    (tmp_path / "c").mkdir()
    write_embeddings(opened(tmp_path / "b.npz"), tmp_path / "c", {"0.png", "1.png"})
    whole = read_precomputed(
        opened(save_embeddings(tmp_path / "d.npz", vectors[2:4], ids[:2], people[:2])), tmp_path / "d.npy"
    )
    write_embeddings_file(whole, tmp_path / "d.npz")
    assert len(opened(tmp_path / "d.npz").records) == 2 and not opened(tmp_path / "d.npz").reasons
    named = replace(whole, embedded=replace(whole.embedded, people=Labels.of(["None", None])))
    write_embeddings_file(named, tmp_path / "e.npz")
    assert [r.person for r in opened(tmp_path / "e.npz").records] == ["None", None]
    for file, rejected in (("b.npz", ["1.png", "4.png"]), ("c/embeddings.npz", ["4.png"])):
        source = opened(tmp_path / file)
        assert {r.id: r.person for r in source.records}["4.png"] == "p4" and not source.notes[1:]
        again = read_precomputed(source, tmp_path / "again.npy")
        assert [reject.id for reject in again.rejects] == rejected and again.n_images == len(source.records)
        assert again.rejects[0].reason == "no vector"
        assert again.rejects[0].detail.startswith("rejected before: embed: no usable vector (its length")
        kept = [i for i, id in enumerate(ids) if id in set(again.embedded.ids)]
        assert np.array_equal(np.asarray(again.embedded.vectors), vectors[kept])


def test_rejects_that_repeat_another_count_once(tmp_path: Path) -> None:
    """Files that cannot be read have no digest, and are different files."""
    vectors = unit_rows(np.random.default_rng(0), 7, 8)
    source = opened(save_embeddings(tmp_path / "a.npz", vectors, [f"{i}" for i in range(7)], [""] * 7))
    rows = [ShardRow(digest, "decode", "damaged image") for digest in ("d", "d", "e")]
    rows += [*(ShardRow("", "read", "unreadable file") for _ in range(2)), ShardRow("f"), ShardRow("f")]
    view = ChannelVectors("face", vectors[:2], "model")
    found = collect(source, ImageRows.of(rows), [view], ImageAlignment(None, ""))
    assert (len(found.rejects), found.n_different_rejects, found.embedded.digests.n_distinct()) == (5, 4, 1)
