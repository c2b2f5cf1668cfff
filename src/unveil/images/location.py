"""Where a set of images is, as the user types it: a path or address, and the form of the container if it is stated."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from unveil.errors import SettingError
from unveil.io.remote import absolute_place, is_address

# The forms of containers, and the options of each.
FORMS: dict[str, tuple[str, ...]] = {
    "folder": (),
    "list": ("image",),
    "zip": (),
    "tar": (),
    "recordio": (),
    "bin": (),
    "tfrecord": ("image",),
    "lmdb": ("image", "mask"),
    "parquet": ("image", "label"),
    "arrow": ("image", "label"),
    "hdf5": ("image", "label"),
    "grid": ("cell", "gap"),
    "embeddings": ("vectors", "label", "id", "model"),
}
# The options of every container of images.
COMMON = ("channels",)
_PREFIX = re.compile(r"([A-Za-z][\w.-]+)((?:,[\w-]+=[^,:=]*)*):(?!//)(.+)", re.DOTALL)


@dataclass(frozen=True)
class Location:
    """A container: its path or address, its form if that is stated, and the options of its reader.

    ``str`` gives back the text that `parse` read.
    """

    target: str
    form: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    preset: str | None = None  # the preset that the user named

    @classmethod
    def parse(cls, text: str) -> Location:
        """A location from ``[FORM[,option=value...]:]PATH``; SettingError for an option that the form does not have.

        The text before the colon counts only when it is a form; ``./`` in front makes anything a path. Raises
        SettingError for an empty path, which would be the current folder, and for a null byte.
        """
        if not text.strip() or "\0" in text:
            raise SettingError(f"expected a path or an address, found {text!r}. Write . for the current folder")
        name, options, target = split_prefix(text)
        if name is None or name not in FORMS:
            return cls(text)
        unknown = sorted(set(options) - {*FORMS[name], *COMMON})
        if unknown:
            raise SettingError(
                f"{text}: {name} has no option {', '.join(unknown)}; it has {', '.join((*FORMS[name], *COMMON))}"
            )
        if options.get("channels", "rgb") not in ("rgb", "bgr"):
            raise SettingError(f"{text}: channels should be rgb or bgr, not {options['channels']}")
        return cls(target, name, options)

    def __str__(self) -> str:
        name = self.preset or self.form
        if name is None:
            return self.target
        return ",".join([name, *(f"{k}={v}" for k, v in self.options.items())]) + f":{self.target}"

    @property
    def remote(self) -> bool:
        """Whether this is a remote address and not a path on this machine."""
        return is_address(self.target)

    @property
    def absolute(self) -> Location:
        """The same location for a process that runs in another folder."""
        return replace(self, target=absolute_place(self.target))

    @property
    def path(self) -> Path:
        """The path on this machine; meaningless for a remote address."""
        return Path(self.target)


def split_prefix(text: str) -> tuple[str | None, dict[str, str], str]:
    """Name, options and target of ``NAME,option=value:TARGET``; the name is None when there is none."""
    found = _PREFIX.fullmatch(text)
    if found is None:
        return None, {}, text
    options = dict(pair.split("=", 1) for pair in found[2].split(",") if pair)
    return found[1], {k: str(v) for k, v in options.items()}, found[3]
