"""The settings of an audit, each declared once."""
