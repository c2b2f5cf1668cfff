"""From images to vectors: reading, detection, alignment and models. Resumable, and parallel.

There are two ways to embed. `unveil.embedding.embed.embed_source` embeds a source into stored shards and one file.
`unveil.embedding.pipeline.embed_images` embeds a few images in memory. Everything else calls one of them.
"""
