"""A network in ONNX form on a device. The only file that imports ONNX Runtime; torch stands behind the same calls."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import io
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from unveil.choices import Device
from unveil.errors import ModelError

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

Tensor = npt.NDArray[np.float32]
# As one sees it in an error: the first line that ONNX Runtime says, which is long enough.
_LONGEST_WORD = 300
# How large a batch may be where the graph leaves it open: measured for processors (docs/decisions/0014), tried out on
# everything else up to the last of these.
CPU_BATCH = 4
BATCHES = (8, 16, 32, 64, 128, 256)
_TRIED_SECONDS = 0.3

_PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    # TF32 would round products to ten bits. The exhaustive search, ONNX Runtime's default, times algorithms anew for
    # every batch size: 0.3 to 0.9 s instead of 0.08 s on an H100, for at most 10% more images/s.
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
    "tensorrt": ("TensorrtExecutionProvider", {}),
    "cpu": ("CPUExecutionProvider", {}),
}


@dataclass(frozen=True)
class Port:
    """An input or output of a graph; an axis that is open is not a number."""

    name: str
    shape: tuple[Any, ...]


class OnnxModel:
    """A graph that runs on the device asked for, or on the next best one; ``told`` says so when it is another.

    Raises ModelError for bytes that are no graph, or one that keeps its weights elsewhere. Its calls may come from
    several threads.
    """

    def __init__(self, weights: bytes, where: str, *, device: Device = "cpu", threads: int = 1) -> None:
        reject_external_weights(weights, where)
        self.where = where
        self.told = ""
        self.runs_on, session, reason = _open(weights, where, device, threads)
        if device not in ("auto", self.runs_on):
            self.told = f"{where} runs on {self.runs_on}: {_why_not(device, reason)}"
        self.inputs = tuple(Port(i.name, tuple(i.shape)) for i in session.get_inputs())
        self.outputs = tuple(Port(o.name, tuple(o.shape)) for o in session.get_outputs())
        self._run: Callable[[Tensor], list[Tensor]] = lambda x: session.run(None, {self.inputs[0].name: x})
        if self.runs_on == "torch":
            self._run = _in_torch(weights, where)

    def run(self, tensor: Tensor) -> list[Tensor]:
        """All outputs for one input tensor, float32; ModelError when the graph does not take it."""
        try:
            return self._run(tensor)
        except Exception as error:  # runtimes raise their own kinds
            raise ModelError(f"{self.where} does not run on {tensor.shape}: {_first_line(error)}") from None

    def best_batch(self, shape: tuple[int, int, int]) -> int:
        """How many inputs (C, H, W) a call should have: 1 if the graph says so, else as measured for this device."""
        batch = self.inputs[0].shape[0]
        if isinstance(batch, int):
            return batch
        if self.runs_on == "cpu":
            return CPU_BATCH
        best, most = CPU_BATCH, 0.0
        for n in BATCHES:
            tensor = np.zeros((n, *shape), np.float32)
            try:
                self._run(tensor)  # the first call prepares
                calls, begun = 0, time.perf_counter()
                while not calls or time.perf_counter() - begun < _TRIED_SECONDS:
                    self._run(tensor)
                    calls += 1
            except Exception:  # out of the device's memory: smaller ones did run
                break
            rate = n * calls / (time.perf_counter() - begun)
            if rate > 1.05 * most:
                best, most = n, rate
        return best


def _open(weights: bytes, where: str, device: Device, threads: int) -> tuple[str, Any, str]:
    """The device that a graph runs on, its session, and the error of a GPU provider that did not start.

    For torch, the session only describes inputs and outputs.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4

    def session(name: str) -> Any:
        provider, settings = _PROVIDERS[name]
        providers = [(provider, settings)] if name == "cpu" else [(provider, settings), _PROVIDERS["cpu"]]
        # From bytes, so that a graph cannot pull in files from beside or outside its own.
        return ort.InferenceSession(weights, options, providers=providers, enable_fallback=0)

    reason = ""
    try:
        for name in devices(device):
            if name in ("cpu", "torch"):
                return name, session("cpu"), reason
            _load_cuda_libraries()
            # A provider that does not start raises an error, or ONNX Runtime silently uses the next one.
            try:
                found = session(name)
            except Exception as error:
                reason = _first_line(error)
            else:
                if found.get_providers()[0] == _PROVIDERS[name][0]:
                    return name, found, reason
        return "cpu", session("cpu"), reason
    except Exception as error:
        raise ModelError(f"{where} cannot be loaded as an ONNX network: {_first_line(error)}") from None


@functools.cache
def _load_cuda_libraries() -> None:
    """Loads CUDA and cuDNN from NVIDIA's Python packages. ONNX Runtime's providers do not search there.

    ONNX Runtime's own messages are silenced: the reason why a provider does not start is reported in ``told``.
    """
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    load = getattr(ort, "preload_dlls", None)
    if load is not None:
        with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
            load()


def devices(device: Device) -> tuple[str, ...]:
    """What is tried for a device, best first. ``auto`` takes a graphics card if there is one that can be used."""
    import onnxruntime as ort

    available = ort.get_available_providers()
    if device == "auto":
        with_card = ["cuda"] if _PROVIDERS["cuda"][0] in available else ["torch"] if _torch_card() else []
        return (*with_card, "cpu")
    if device == "torch":
        return ("torch",) if _torch_missing() is None else ("cpu",)
    return (device,) if _PROVIDERS[device][0] in available else ("cpu",)


def describe_devices() -> list[tuple[Device, str]]:
    """Each device and whether networks can run on it here."""
    import onnxruntime as ort

    available = ort.get_available_providers()
    told: list[tuple[Device, str]] = [("auto", f"takes {devices('auto')[0]}"), ("cpu", "ONNX Runtime")]
    for name in ("cuda", "tensorrt"):
        provider = _PROVIDERS[name][0]
        told.append((name, f"ONNX Runtime's {provider}" if provider in available else f"no {provider} here"))
    missing = _torch_missing()
    card = "on a graphics card" if _torch_card() else "without a graphics card"
    told.append(("torch", f"PyTorch {card}" if missing is None else f"needs {missing}: pip install 'unveil[gpu]'"))
    return told


def _why_not(device: Device, reason: str = "") -> str:
    if device == "torch":
        return f"the torch path needs {_torch_missing()}; pip install 'unveil[gpu]'"
    if reason:
        return (
            f"{_PROVIDERS[device][0]} of ONNX Runtime did not start ({reason}). Install the libraries that it names, "
            "or use --device torch, which needs only PyTorch"
        )
    return (
        f"ONNX Runtime here has no {_PROVIDERS[device][0]} that starts; it comes with pip install onnxruntime-gpu in "
        "place of onnxruntime, and needs the card's driver. --device torch needs only PyTorch"
    )


def _torch_missing() -> str | None:
    """Which package keeps graphs from running under torch, and why if it is there."""
    for module in ("torch", "onnx2torch"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(module)
        except ModuleNotFoundError as error:
            return error.name or module
        except Exception as error:  # a torchvision that was built for another torch raises RuntimeError
            return f"{module}, which does not start ({_first_line(error)})"
    return None


def _torch_card() -> bool:
    # Importing torch takes two seconds: not where its build knows no card, nor where no graph could run in it.
    if any(importlib.util.find_spec(module) is None for module in ("torch", "onnx2torch")):
        return False
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        if importlib.metadata.version("torch").endswith("+cpu"):
            return False
    import torch

    return bool(torch.cuda.is_available()) and _torch_missing() is None


def _in_torch(weights: bytes, where: str) -> Callable[[Tensor], list[Tensor]]:
    """The same graph as a torch module, on a graphics card if there is one."""
    import onnx
    import onnx2torch
    import torch

    torch.backends.cudnn.allow_tf32 = False
    card = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = onnx2torch.convert(onnx.load_from_string(weights)).eval().to(card)
    except Exception as error:
        raise ModelError(f"{where} cannot be run by torch: {_first_line(error)}; try --device cpu") from None

    def run(tensor: Tensor) -> list[Tensor]:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = module(torch.from_numpy(tensor).to(card))
        several = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return [cast("Tensor", output.float().cpu().numpy()) for output in several]

    return run


def reject_external_weights(weights: bytes, where: str) -> None:
    """ModelError when a graph keeps its weights in other files, wherever they are."""
    # The key of such an entry, as it is written in every file that has one.
    if b"\x0a\x08location\x12" not in weights:
        return
    import onnx

    try:
        graph = onnx.load_from_string(weights).graph
    except Exception:  # no graph at all: its loading says so
        return
    for tensor in graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                raise ModelError(
                    f"{where} keeps its weights in another file ({entry.value[:100]!r}), which is not opened: a "
                    "network is one file here. Its owner can put them inside: onnx.save(onnx.load(FILE), NEW_FILE)"
                )


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:_LONGEST_WORD] if lines else type(error).__name__
