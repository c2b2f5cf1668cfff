"""Files that lie beside images and are none, recognised by name."""

from __future__ import annotations

# What operating systems and editors leave in folders and archives.
SYSTEM_FOLDERS = ("__MACOSX", ".ipynb_checkpoints", "@eaDir", ".git", "__pycache__")
SYSTEM_FILES = frozenset({".ds_store", "thumbs.db", "desktop.ini", ".gitattributes", ".gitignore", ".gitkeep"})
# Documents without a suffix.
DOCUMENTS = frozenset({"readme", "license", "licence", "copying", "notice", "changelog", "makefile", "checksums"})
# Suffixes of texts, tables, programs, arrays and archives. No image is published under these.
SUFFIXES = frozenset(
    (
        *("txt", "md", "rst", "csv", "tsv", "json", "jsonl", "xml", "html", "htm", "yaml", "yml", "toml", "ini", "cfg"),
        *("pdf", "doc", "docx", "tex", "log", "py", "pyc", "ipynb", "sh", "m", "lst", "idx", "rec", "npy", "npz"),
        *("pkl", "pickle", "pt", "pth", "ckpt", "onnx", "mat", "h5", "hdf5", "parquet", "arrow", "mdb", "sqlite"),
        *("gz", "tgz", "zip", "tar", "7z", "rar", "bz2", "xz", "md5", "sha256", "sha1", "torrent", "mp4", "avi"),
    )
)


def is_clutter(name: str) -> bool:
    """Whether a path names a file that is no image, such as ``README.txt``, ``.DS_Store`` or ``__MACOSX/._a.png``."""
    base = name.rpartition("/")[2]
    _, dot, suffix = base.rpartition(".")
    if dot and suffix.lower() in SUFFIXES:
        return True
    return base.lower() in DOCUMENTS or is_system_file(name)


def is_system_file(name: str) -> bool:
    """Whether a path names a file that an operating system or an editor left, such as ``__MACOSX/._a.png``."""
    base = name.rpartition("/")[2]
    if base[:2] == "._" or base.lower() in SYSTEM_FILES:
        return True
    return any(folder in name for folder in SYSTEM_FOLDERS) and any(f in name.split("/")[:-1] for f in SYSTEM_FOLDERS)
