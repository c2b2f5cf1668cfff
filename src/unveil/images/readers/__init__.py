"""One reader a file: each lists the entries of one kind of container and reads the bytes of each image."""
