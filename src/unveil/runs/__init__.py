"""Writing a finished run and opening it again."""
