"""One writer a file: each writes a container again without some of its images."""
