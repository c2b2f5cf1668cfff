"""The command line: parse, call one library function, tell what came of it."""
