"""The files below a folder of a web server, by the links of its pages, which a server may make up without end."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote, urldefrag, urljoin, urlsplit

from unveil.errors import StoreError
from unveil.io.remote import read_range, with_retries, without_secrets

# Of one page; a page of 100,000 links takes 10 MB.
MAX_PAGE_BYTES = 2**25
# First bytes of what may be one.
PAGE_HEAD = 512
# Links to other places that are counted.
MAX_ELSEWHERE = 100_000
# Levels of folders below the first, folders and files.
MAX_DEPTH, MAX_FOLDERS, MAX_FILES = 30, 20_000, 2_000_000
# The next tag or comment, and the next attribute of a tag, or its end. A quote that nothing closes occurs once.
_TAG = re.compile(r"<(?:(!--)|([a-zA-Z][^\s/>]*+))")
_ATTRIBUTE = re.compile(
    r"""[\s/]*+(?:(>)|([^\s/>][^\s/>=]*+)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>]++)))?+)""", re.IGNORECASE
)
# Tags whose text is no page, and the attribute that holds the address of others.
_TEXT = {name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style", "title", "textarea")}
_ADDRESS = {"a": "href", "area": "href", "img": "src", "base": "href"}
_PORTS = {"http": ":80", "https": ":443"}
# Fields by which web servers show a folder in parts. Others show it in another order or form.
PAGES = frozenset(
    {
        *("page", "p", "pg", "pagenum", "page_number", "offset", "start", "skip", "from", "after", "marker", "cursor"),
        *("next", "token", "pagetoken", "continuation-token", "continuation", "startafter", "start-after"),
    }
)
ADVICE = "Give an archive of the images, or download the folder and name it"


def web_files(files: Any, url: str, elsewhere: set[str] | None = None) -> list[str]:
    """The names of the files below a folder, relative to it, in order.

    ``files`` is the fsspec file system of the address. Links to other places are added to ``elsewhere``. Raises
    FileNotFoundError, and StoreError for more than the limits, or pages that cannot be read.
    """
    root = url.rstrip("/") + "/"
    waiting, seen, found = [root], {_place(root)}, dict[tuple[str, ...], str]()
    while waiting:
        folder = waiting.pop()
        for link in _links(files, folder, root, elsewhere):
            if not link.endswith("/") and _is_page(files, link):
                link += "/"
            place = _place(link)
            if not link.endswith("/"):
                found.setdefault(place, link[len(root) :])
            elif place not in seen:
                seen.add(place)
                waiting.append(link)
        _check("levels", folder[len(root) :].count("/"), MAX_DEPTH, folder)
        _check("folders", len(seen), MAX_FOLDERS, folder)
        _check("files", len(found), MAX_FILES, folder)
    return sorted(found.values())


def _place(link: str) -> tuple[str, ...]:
    """What an address leads to, however it is written: the server, the parts of the path, and the query."""
    parts = urlsplit(link)
    host = parts.netloc.lower().removesuffix(_PORTS.get(parts.scheme, ""))
    return (f"{parts.scheme}://{host}", parts.query, *map(unquote, parts.path.split("/")))


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


def _links(files: Any, folder: str, root: str, elsewhere: set[str] | None) -> Iterator[str]:
    """The addresses below the ``root`` to which the page of a folder links, as they are written behind it."""
    page = with_retries(folder, lambda: read_range(files, folder, 0, MAX_PAGE_BYTES + 1))
    if len(page) > MAX_PAGE_BYTES:
        raise StoreError(
            f"{without_secrets(folder)}: expected a page of at most {MAX_PAGE_BYTES:,} bytes, found more. {ADVICE}"
        )
    base, own = folder, _place(folder)
    above, depth = _place(root)[2:-1], len(_place(root)) - 3
    for tag, address in addresses_in(page.decode("utf-8", "replace")):
        path, mark, query = address.partition("?")
        try:
            # Browsers take a backslash for a slash.
            link, _ = urldefrag(urljoin(base, path.replace("\\", "/") + mark + query))
            parts, place = urlsplit(link), _place(link)
        except ValueError:  # no address
            continue
        if tag == "base":
            base = link
            continue
        fields = PAGES.intersection(name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True))
        is_own = (place[0], *place[2:]) == (own[0], *own[2:])
        # Pages link to themselves in another order, which shows nothing new.
        if is_own and fields:
            raise StoreError(
                f"{without_secrets(folder)}: expected a page with all files of the folder, found a link to a further "
                f"page of it (?{min(fields)}=). {ADVICE}"
            )
        if place[0] != own[0] or place[2 : 2 + depth] != above or len(place) < 3 + depth:
            if elsewhere is not None and tag != "img" and len(elsewhere) < MAX_ELSEWHERE:
                elsewhere.add(link)
        elif not is_own:
            yield root + "/".join(parts.path.split("/")[depth:]) + (f"?{parts.query}" if parts.query else "")


def addresses_in(page: str) -> Iterator[tuple[str, str]]:
    """The addresses in the tags of a page that lead to others, with the names of the tags, as HTML reads them."""
    at = 0
    while (found := _TAG.search(page, at)) is not None:
        at = found.end()
        if found[1]:
            end = page.find("-->", at)
            at = len(page) if end < 0 else end
            continue
        tag, address = found[2].lower(), None
        while (attribute := _ATTRIBUTE.match(page, at)) is not None:
            at = attribute.end()
            if attribute[1]:
                break
            name, *values = attribute.groups()[1:]
            if name.lower() == _ADDRESS.get(tag) and address is None:
                address = next((value for value in values if value is not None), None)
        if address is not None:
            yield tag, html.unescape(address).strip()
        if tag in _TEXT:
            text = _TEXT[tag].search(page, at)
            at = len(page) if text is None else text.start()
