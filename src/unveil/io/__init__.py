"""Storage and its safety: remote addresses, atomic files, run directories, checkpoints, facts about the host."""
