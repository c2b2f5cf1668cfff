"""The steps of an audit: each joins pictures, comparison and statistics for one purpose."""
