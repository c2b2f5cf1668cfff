"""The records of an audit's result, by topic."""
