"""What a path holds and how an audit would read it."""
