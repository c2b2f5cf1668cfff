"""What may be said of the matches. Sees arrays only: no files, no faces, no engines."""
