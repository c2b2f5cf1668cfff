"""The files below a folder of a web server, by the links of its pages, which a server may make up without end."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urldefrag, urljoin, urlsplit

from unveil.errors import StoreError
from unveil.io.remote import read_range, with_retries, without_secrets

# Of one page; a page of 100,000 links takes 10 MB.
MAX_PAGE_BYTES = 2**25
# First bytes of what may be one.
PAGE_HEAD = 512
# Levels of folders below the first, folders and files.
MAX_DEPTH, MAX_FOLDERS, MAX_FILES = 30, 20_000, 2_000_000
_LINK = re.compile(r"""<a\s[^<>]*?href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))""", re.IGNORECASE)
# Fields by which web servers show a folder in parts. Others show it in another order or form.
PAGES = frozenset(
    {
        *("page", "p", "pg", "pagenum", "page_number", "offset", "start", "skip", "from", "after", "marker", "cursor"),
        *("next", "token", "pagetoken", "continuation-token", "continuation", "startafter", "start-after"),
    }
)
ADVICE = "Give an archive of the images, or download the folder and name it"


def web_files(files: Any, url: str) -> list[str]:
    """The names of the files below a folder, relative to it, in order.

    ``files`` is the fsspec file system of the address. Links to other places and to the folders above are left out.
    Raises FileNotFoundError, and StoreError for more than the limits, or pages that cannot be read.
    """
    root = url.rstrip("/") + "/"
    waiting, seen, found = [root], {root}, set[str]()
    while waiting:
        folder = waiting.pop()
        for link in _links(files, folder):
            if not link.endswith("/") and _is_page(files, link):
                link += "/"
            if not link.endswith("/"):
                found.add(link[len(root) :])
            elif link not in seen:
                seen.add(link)
                waiting.append(link)
        _check("levels", folder[len(root) :].count("/"), MAX_DEPTH, folder)
        _check("folders", len(seen), MAX_FOLDERS, folder)
        _check("files", len(found), MAX_FILES, folder)
    return sorted(found)


def _is_page(files: Any, link: str) -> bool:
    """Whether a link without a slash and a suffix leads to a page, as some servers list folders."""
    if "." in urlsplit(link).path.rpartition("/")[2]:
        return False
    try:
        head = with_retries(link, lambda: read_range(files, link, 0, PAGE_HEAD))
    except FileNotFoundError:
        return False
    return head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html"))


def _check(what: str, n: int, most: int, folder: str) -> None:
    if n > most:
        raise StoreError(
            f"{without_secrets(folder)}: expected at most {most:,} {what} in a folder of a web server, found more. "
            f"{ADVICE}"
        )


def _links(files: Any, folder: str) -> Iterator[str]:
    """The addresses below a folder to which its page links."""
    page = with_retries(folder, lambda: read_range(files, folder, 0, MAX_PAGE_BYTES + 1))
    if len(page) > MAX_PAGE_BYTES:
        raise StoreError(
            f"{without_secrets(folder)}: expected a page of at most {MAX_PAGE_BYTES:,} bytes, found more. {ADVICE}"
        )
    own = urlsplit(folder).path
    for quoted, single, bare in _LINK.findall(page.decode("utf-8", "replace")):
        link, _ = urldefrag(urljoin(folder, html.unescape(quoted or single or bare).strip()))
        parts = urlsplit(link)
        # Pages link to themselves in another order, which shows nothing new.
        fields = PAGES.intersection(name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True))
        if link.startswith(folder) and parts.path == own and fields:
            raise StoreError(
                f"{without_secrets(folder)}: expected a page with all files of the folder, found a link to a further "
                f"page of it (?{min(fields)}=). {ADVICE}"
            )
        if link.startswith(folder) and link != folder and parts.path != own:
            yield link
