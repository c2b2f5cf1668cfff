"""Every error of the library survives the way from a worker to the driver."""

from __future__ import annotations

import importlib
import pickle
import pkgutil

import pytest

import unveil
from unveil.errors import ImageError, UnveilError


def subclasses(base: type[UnveilError]) -> list[type[UnveilError]]:
    return [base, *(one for child in base.__subclasses__() for one in subclasses(child))]


def all_errors() -> list[type[UnveilError]]:
    """Every error of the package, wherever it is defined."""
    for module in pkgutil.walk_packages(unveil.__path__, "unveil."):
        if not module.name.endswith(("__main__", ".libunveil")):
            importlib.import_module(module.name)
    return [error for error in subclasses(UnveilError) if error.__module__.startswith("unveil.")]


@pytest.mark.parametrize("error", all_errors(), ids=lambda e: e.__name__)
def test_an_error_can_be_pickled(error: type[UnveilError]) -> None:
    arguments = ("decode", "not an image", "cut short") if issubclass(error, ImageError) else ("what to do",)
    raised = error(*arguments)
    again = pickle.loads(pickle.dumps(raised))
    assert type(again) is error and str(again) == str(raised) and vars(again) == vars(raised)


def test_an_image_error_has_stage_reason_and_detail() -> None:
    error = pickle.loads(pickle.dumps(ImageError("decode", "not an image")))
    assert (error.stage, error.reason, error.detail, str(error)) == ("decode", "not an image", "", "not an image")
    assert str(ImageError("read", "damaged", "bad CRC")) == "damaged: bad CRC"
