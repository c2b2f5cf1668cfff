"""The settings of an audit.

- `settings`: the table. Each setting is declared once, as a field of `Settings`.
- `parsing`: from TOML, flags and keyword arguments to `Settings`.
- `record`: from the manifest's settings to a command, and to a copy without names.
- `paths`: the checks that need the file system; only a new audit runs them.
"""
