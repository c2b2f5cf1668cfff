"""The page of an overlap: the result, the numbers behind it, and pairs to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unveil.choices import SetName
from unveil.images import Source
from unveil.report.templating import environment, label_cells
from unveil.report.text import count
from unveil.report.thumbnails import Thumbnails
from unveil.results import OverlapResult, PeoplePair, SharedImage

# Pairs that the page shows: the closest that match by face and the least close, shared images, and candidates.
CLOSEST, LEAST, IMAGES, CANDIDATES = 12, 36, 12, 12


@dataclass(frozen=True)
class ShownPair:
    """A pair of images by their ids, and a caption."""

    a_id: str
    b_id: str
    title: str
    caption: str


def overlap_page(result: OverlapResult, sources: Mapping[SetName, Source]) -> str:
    """The page, one self-contained HTML file with thumbnails from the sources."""
    by_face = [pair for pair in result.people if not pair.shared_images]
    closest, least = by_face[:CLOSEST], by_face[CLOSEST:][-LEAST:]
    groups = [
        ("Shared images", "The same image is in both sets.", [_image(image) for image in _varied(result.images)]),
        ("People who match by face, the closest", "", [_pair(pair) for pair in closest]),
        (
            "People who match by face, the least close",
            "Different people are most probably here.",
            [_pair(pair) for pair in least],
        ),
        (
            "Just below the threshold",
            "These do not count as shared.",
            [_pair(pair) for pair in result.candidates[:CANDIDATES]],
        ),
    ]
    shown = [pair for _, _, pairs in groups for pair in pairs]
    thumbnails = Thumbnails(sources, {"A": [p.a_id for p in shown], "B": [p.b_id for p in shown]})
    pages = environment()
    pages.filters["figure"] = lambda n: count(n) if n else "0"
    page = pages.get_template("overlap.html.j2").render(result=result, groups=groups, thumbnail=thumbnails.thumbnail)
    return label_cells(page)


def _varied(images: Sequence[SharedImage]) -> list[SharedImage]:
    """Some shared images, near-duplicates first: identical files need no eyes."""
    order = {"near-duplicate": 0, "pixels": 1, "bytes": 2}
    return sorted(images, key=lambda image: order[image.same])[:IMAGES]


def _image(image: SharedImage) -> ShownPair:
    same = {"bytes": "same file", "pixels": "same pixels", "near-duplicate": "near-duplicate"}[image.same]
    return ShownPair(image.a_id, image.b_id, same, f"{image.a_id} | {image.b_id}")


def _pair(pair: PeoplePair) -> ShownPair:
    cosine = "" if pair.cosine is None else f"cosine {pair.cosine:.3f}"
    if pair.expected_false is not None:
        cosine += f", {count(pair.expected_false)} false pairs expected as close"
    return ShownPair(pair.a_id, pair.b_id, f"{pair.a_person} | {pair.b_person}", cosine)
