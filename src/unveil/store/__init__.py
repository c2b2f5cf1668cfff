"""Embeddings on disk: immutable shards keyed by content, and the assembled vectors of a run."""

from unveil.store.shards import Shard, ShardRow, ShardStore, assemble

__all__ = ["Shard", "ShardRow", "ShardStore", "assemble"]
