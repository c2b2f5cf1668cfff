"""What a location holds, and how an audit would read it."""
