"""Images in a folder at a remote address."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from unveil.errors import ImageError, SourceError, StoreError
from unveil.images.label_rule import LabelRule
from unveil.images.labels import find_labels, is_image_name
from unveil.images.source import MAX_FILE_BYTES, Entry, Source, printable
from unveil.io.remote import check_address, filesystem, read_range, with_retries, without_secrets
from unveil.io.web_folder import web_files
from unveil.types import ImageRecord


class RemoteFolderSource(Source):
    """Every file below a folder at an address that fsspec supports."""

    kind = "folder"

    def __init__(self, url: str, rule: LabelRule) -> None:
        super().__init__(url, rule)
        self._url = url.rstrip("/")
        self._files, root = filesystem(check_address(self._url))
        self._root = root.rstrip("/")
        # The names of files as the address has them.
        self._encoded: dict[str, str] = {}
        try:
            files = self._names()
        except (FileNotFoundError, StoreError) as error:
            raise SourceError(f"{url}: a folder was expected, but it cannot be read ({error})") from None
        found = find_labels(rule, files, self._read, url)
        self.label_files, stored = found.files, found.stored or {}
        names = ((printable(file), file) for file in files if file not in found.files)
        self._set_records(
            (Entry(name, file, stored.get(name)) for name, file in names),
            listed=found.listed,
            states_labels=found.stored is not None,
            are_files=True,
        )

    def _names(self) -> list[str]:
        """The names of the files in the folder; FileNotFoundError or StoreError when it cannot be listed."""
        if self._url.startswith(("http://", "https://")):
            elsewhere = set[str]()
            for name in web_files(self._files, self._root, elsewhere):
                # Two names that are one when they are decoded stay as they are.
                self._encoded.setdefault(unquote(name) if unquote(name) not in self._encoded else name, name)
            for link in sorted(elsewhere):
                if is_image_name(urlsplit(link).path):
                    self.unread.add("links to images in other places", printable(without_secrets(link)))
            return list(self._encoded)
        paths = with_retries(self._url, lambda: self._files.find(self._root))
        return [name for path in paths if (name := str(path)[len(self._root) + 1 :])]

    def read(self, record: ImageRecord) -> bytes:
        return self._read(record.key, MAX_FILE_BYTES)

    def _read(self, name: str, limit: int) -> bytes:
        path = f"{self._root}/{self._encoded.get(name, name)}"
        try:
            # One byte more than the limit, whatever size the address states.
            data = with_retries(f"{self._url}/{name}", lambda: read_range(self._files, path, 0, limit + 1))
        except FileNotFoundError:
            raise ImageError(
                "read", "unreadable file", f"{printable(name)}: removed since the folder was listed"
            ) from None
        if len(data) > limit:
            raise ImageError("read", "unreadable file", f"{printable(name)}: more than {limit} bytes")
        return data
