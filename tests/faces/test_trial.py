"""Models of strangers: what a graph of a few hundred bytes may cost, before an audit or `models add` runs it."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.builders import write
from tests.models import described_model, small_model, spot_detector
from unveil.errors import ModelError
from unveil.faces import trial
from unveil.faces.graph_size import MAX_NODES, check_graph_size
from unveil.faces.models.library import library_folder
from unveil.faces.register import register_model

HUGE = [1500, 1000, 1000]
OWN = "own"


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNVEIL_MODELS", str(tmp_path / "library"))
    monkeypatch.setenv("UNVEIL_CACHE", str(tmp_path / "cache"))


def numbers(name: str, values: Any, kind: type = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.array(values, kind), name)


def graph(nodes: Sequence[NodeProto], *constants: TensorProto, functions: Sequence[Any] = ()) -> ModelProto:
    """A model of images whose vectors have the scalar ``z`` of these nodes added."""
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 112, 112])
    vector = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    mean = [
        helper.make_node("ReduceMean", ["x"], ["p"], axes=[2, 3], keepdims=0),
        helper.make_node("Add", ["p", "z"], ["y"]),
    ]
    made = helper.make_graph([*nodes, *mean], "g", [image], [vector], list(constants))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(OWN, 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8, functions=list(functions))


def filled(operator: str, inputs: list[str], *constants: TensorProto) -> ModelProto:
    return graph(
        [helper.make_node(operator, inputs, ["c"]), helper.make_node("ReduceMean", ["c"], ["z"], keepdims=0)],
        *constants,
    )


def nested_functions(depth: int = 40, *, endless: bool = False) -> ModelProto:
    """Functions of which each calls the one before twice."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(OWN, 1)]
    first = (
        helper.make_node(f"f{depth - 1}", ["a"], ["b"], domain=OWN)
        if endless
        else helper.make_node("Neg", ["a"], ["b"])
    )
    functions = [helper.make_function(OWN, "f0", ["a"], ["b"], [first], opsets)]
    for i in range(1, depth):
        twice = [helper.make_node(f"f{i - 1}", [a], [b], domain=OWN) for a, b in (("a", "t"), ("t", "b"))]
        functions.append(helper.make_function(OWN, f"f{i}", ["a"], ["b"], twice, opsets))
    return graph(
        [helper.make_node(f"f{depth - 1}", ["o"], ["z"], domain=OWN)], numbers("o", 1, np.float32), functions=functions
    )


def constant_node() -> ModelProto:
    shape = helper.make_node("Constant", [], ["s"], value_ints=HUGE)
    return graph(
        [
            shape,
            helper.make_node("ConstantOfShape", ["s"], ["c"]),
            helper.make_node("ReduceMean", ["c"], ["z"], keepdims=0),
        ]
    )


STATED: dict[str, tuple[Callable[[], ModelProto], str]] = {
    "ConstantOfShape": (lambda: filled("ConstantOfShape", ["s"], numbers("s", HUGE)), "1,500,000,000 values"),
    "a constant node": (constant_node, "1,500,000,000 values"),
    "Expand": (
        lambda: filled("Expand", ["o", "s"], numbers("o", 1, np.float32), numbers("s", HUGE)),
        "1,500,000,000 values",
    ),
    "Tile": (
        lambda: filled("Tile", ["o", "s"], numbers("o", [[[1]]], np.float32), numbers("s", HUGE)),
        "1,500,000,000 values",
    ),
    "Range": (
        lambda: filled(
            "Range", ["a", "b", "d"], *(numbers(k, v, np.float32) for k, v in (("a", 0), ("b", 1.5e9), ("d", 1)))
        ),
        "1,500,000,000 values",
    ),
    "Resize": (
        lambda: filled("Resize", ["x", "", "", "s"], numbers("s", [1, 3, 2**15, 2**15])),
        "3,221,225,472 values",
    ),
    "functions": (nested_functions, "more than a trillion"),
    "an endless function": (lambda: nested_functions(3, endless=True), "a function that calls itself"),
}


@pytest.mark.parametrize("name", STATED)
def test_what_a_graph_states_is_refused_before_it_is_opened(name: str) -> None:
    make, found = STATED[name]
    with pytest.raises(ModelError, match=re.escape(found)):
        check_graph_size(make().SerializeToString(), "net")


def test_usual_graphs_are_small(tmp_path: Path) -> None:
    check_graph_size(small_model(), "net")
    check_graph_size(spot_detector(tmp_path, side=64).read_bytes(), "net")
    check_graph_size(nested_functions(10).SerializeToString(), "net")
    many = graph([helper.make_node("Identity", ["x"], [f"i{i}"]) for i in range(MAX_NODES)])
    with pytest.raises(ModelError, match="expected at most 200,000 nodes"):
        check_graph_size(many.SerializeToString(), "net")


def scaled() -> ModelProto:
    """An image 200 times as large, whose size no constant alone tells."""
    return filled("Resize", ["x", "", "s"], numbers("s", [1, 1, 200, 200], np.float32))


def by_pixels() -> ModelProto:
    """An array whose size is computed from the pixels."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Mul", ["m", "zero"], ["none"]),
        helper.make_node("Add", ["none", "large"], ["size"]),
        helper.make_node("Cast", ["size"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["whole", "one"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["c"]),
        helper.make_node("ReduceMean", ["c"], ["z"], keepdims=0),
    ]
    constants = numbers("zero", 0, np.float32), numbers("large", 1.5e9, np.float32), numbers("one", [1])
    return graph(nodes, *constants)


def doubled() -> ModelProto:
    """An array that is appended to itself 18 times."""
    names = ["x", *(f"d{i}" for i in range(18))]
    nodes = [helper.make_node("Concat", [a, a], [b], axis=3) for a, b in pairwise(names)]
    return graph([*nodes, helper.make_node("ReduceMean", [names[-1]], ["z"], keepdims=0)])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is limited on Linux")
@pytest.mark.parametrize("make", [scaled, by_pixels, doubled])
def test_what_only_a_run_shows_ends_another_process(make: Callable[[], ModelProto], tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", make().SerializeToString())
    with pytest.raises(ModelError, match="within 2048 MiB and 8 times its size of memory, found one that takes more"):
        register_model(path, family="arcface")
    assert not (library_folder() / "net").exists() and not (tmp_path / "cache").exists()


def test_time_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "net.onnx", small_model())

    def ended_by(status: int) -> Any:
        return lambda words, **_: subprocess.CompletedProcess(words, status, b"", b"")

    monkeypatch.setattr(subprocess, "run", ended_by(-signal.SIGXCPU))
    with pytest.raises(ModelError, match=r"within 120 s of processor time, found one that takes more"):
        trial.try_model(path, "0" * 64, 112)
    monkeypatch.setattr(subprocess, "run", ended_by(-signal.SIGSEGV))
    with pytest.raises(ModelError, match=r"found that it ends its process \(status -11\)"):
        trial.try_model(path, "0" * 64, 112)


def test_a_model_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = described_model(tmp_path, small_model())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    trial.try_model(path, sha256, 112)
    monkeypatch.setattr(trial, "_run_apart", lambda *_: pytest.fail("it is run again"))
    trial.try_model(path, sha256, 112)
    # The record of another user, or for another file, counts for nothing.
    record = tmp_path / "cache" / "tried" / sha256
    assert record.is_file()
    (record.parent / ("0" * 64)).write_bytes(record.read_bytes())
    monkeypatch.setattr(trial, "_run_apart", lambda *_: (_ for _ in ()).throw(ModelError("again")))
    with pytest.raises(ModelError, match="again"):
        trial.try_model(path, "0" * 64, 112)
    with pytest.raises(ModelError, match="again"):
        trial.try_model(path, sha256, 224)


def test_known_models_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_run_apart", lambda *_: pytest.fail("it is run"))
    trial.try_models([None, "dlib_resnet_v1"], "dlib")


def test_no_module_of_the_current_folder_is_run(tmp_path: Path) -> None:
    write(tmp_path / "onnx.py", b"raise SystemExit('run')")
    path = write(tmp_path / "net.onnx", small_model())
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom unveil.faces.trial import try_model\n"
        f"os.chdir({str(tmp_path)!r})\nsys.path.insert(0, '')\ntry_model(Path({str(path)!r}), '0' * 64, 112)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
