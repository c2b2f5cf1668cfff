"""From images to embeddings: reading, detection, alignment and models, in order, resumable and in parallel."""
