"""One file for each container: what it holds becomes records, and the bytes of each."""
