"""A model in ONNX form on a device. The only module that imports ONNX Runtime or runs a graph in PyTorch."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import io
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from unveil.choices import Device
from unveil.errors import ModelError
from unveil.io.text import printable

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

Tensor = npt.NDArray[np.float32]
# Characters of a runtime's error that are shown: its first line says enough.
MAX_ERROR_CHARS = 300
# Batch sizes where the graph leaves the batch open: 4 was measured for processors (docs/decisions/0014); callers may
# know a better one. On every other device the larger sizes are measured until one does not fit.
CPU_BATCH = 4
BATCHES = (8, 16, 32, 64, 128, 256)
SECONDS_PER_BATCH = 0.3
# Kinds of arrays that are numbers: floats, and whole numbers of quantised models.
NUMBERS = "fiu"

_PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    # TF32 would round products to ten bits. The exhaustive search, ONNX Runtime's default, times algorithms anew for
    # every batch size: 0.3 to 0.9 s instead of 0.08 s on an H100, for at most 10% more images/s.
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
    "tensorrt": ("TensorrtExecutionProvider", {}),
    "cpu": ("CPUExecutionProvider", {}),
}


@dataclass(frozen=True)
class Port:
    """An input or output of a graph. An open axis of ``shape`` is not a number."""

    name: str
    shape: tuple[Any, ...]


class OnnxModel:
    """A graph on the requested device, or on the processor if that device is not available.

    ``runs_on`` is the device in use. ``fallback`` says why it is not the requested one, and is empty otherwise.
    ``runtime`` names the library, its version and the execution provider: together they decide the last bits of a
    result. Calls may come from several threads.

    Raises ModelError for bytes that are not a graph, and for a graph whose weights are in other files.
    """

    def __init__(
        self,
        weights: bytes,
        where: str,
        *,
        device: Device = "cpu",
        threads: int = 1,
        seconds_per_batch: float = SECONDS_PER_BATCH,
    ) -> None:
        reject_unsafe_graph(weights, where)
        self.where = where
        self.fallback = ""
        self.runs_on, session, error = _open_session(weights, where, device, threads)
        if device not in ("auto", self.runs_on):
            self.fallback = f"{where} runs on {self.runs_on}: {_why_unavailable(device, error)}"
        self.inputs = tuple(Port(i.name, tuple(i.shape)) for i in session.get_inputs())
        self.outputs = tuple(Port(o.name, tuple(o.shape)) for o in session.get_outputs())
        for port in self.inputs:
            if any(isinstance(axis, int) and axis < 1 for axis in port.shape):
                raise ModelError(
                    f"{where}: expected open axes or axes from 1 on, found an input of {list(port.shape)}. Export the "
                    "model with an open batch"
                )
        self._seconds_per_batch = seconds_per_batch
        self._run: Callable[[Tensor], list[Tensor]]
        if self.runs_on == "torch":
            self._run, self.runtime = _convert_to_torch(weights, where)
        else:
            self._run = lambda x: session.run(None, {self.inputs[0].name: x})
            self.runtime = f"onnxruntime {onnxruntime_version()} {session.get_providers()[0]}"

    def run(self, tensor: Tensor) -> list[Tensor]:
        """All outputs for one input tensor. Raises ModelError where the graph does not run, or gives no numbers."""
        try:
            outputs = self._run(tensor)
        except Exception as error:  # runtimes raise exceptions of their own
            raise ModelError(f"{self.where} does not run on {tensor.shape}: {_first_line(error)}") from None
        for port, output in zip(self.outputs, outputs, strict=False):
            if not isinstance(output, np.ndarray) or output.dtype.kind not in NUMBERS:
                kind = output.dtype if isinstance(output, np.ndarray) else type(output).__name__
                raise ModelError(
                    f"{self.where}: expected an array of numbers as output {printable(port.name)}, found {kind}. "
                    "Export the model again"
                )
        return outputs

    def best_batch(self, shape: tuple[int, int, int], cpu_batch: int = CPU_BATCH) -> int:
        """The number of inputs (C, H, W) for a call: as the graph declares, else as measured for this device.

        ``cpu_batch`` is the number for a processor.
        """
        batch = self.inputs[0].shape[0]
        if isinstance(batch, int):
            return batch
        if self.runs_on == "cpu":
            return cpu_batch
        best, highest_rate = CPU_BATCH, 0.0
        for n in BATCHES:
            tensor = np.zeros((n, *shape), np.float32)
            try:
                self._run(tensor)  # the first call prepares
                calls, start = 0, time.perf_counter()
                while not calls or time.perf_counter() - start < self._seconds_per_batch:
                    self._run(tensor)
                    calls += 1
            except Exception:  # the device is out of memory: smaller batches did run
                break
            rate = n * calls / (time.perf_counter() - start)
            if rate > 1.05 * highest_rate:
                best, highest_rate = n, rate
        return best


def _open_session(weights: bytes, where: str, device: Device, threads: int) -> tuple[str, Any, str]:
    """The device in use, a session, and the error of a GPU provider that did not start.

    For torch the session only describes inputs and outputs.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4

    def session(name: str) -> Any:
        provider, settings = _PROVIDERS[name]
        providers = [(provider, settings)] if name == "cpu" else [(provider, settings), _PROVIDERS["cpu"]]
        # From bytes, so that a graph cannot load other files.
        return ort.InferenceSession(weights, options, providers=providers, enable_fallback=0)

    reason = ""
    try:
        for name in devices(device):
            if name in ("cpu", "torch"):
                return name, session("cpu"), reason
            _load_cuda_libraries()
            # A provider that does not start raises an error, or ONNX Runtime silently uses the next one.
            try:
                opened = session(name)
            except Exception as error:
                reason = _first_line(error)
            else:
                if opened.get_providers()[0] == _PROVIDERS[name][0]:
                    return name, opened, reason
        return "cpu", session("cpu"), reason
    except Exception as error:
        raise ModelError(f"{where} cannot be loaded as an ONNX model: {_first_line(error)}") from None


@functools.cache
def _load_cuda_libraries() -> None:
    """Loads CUDA and cuDNN from NVIDIA's Python packages. ONNX Runtime's providers do not search there.

    ONNX Runtime's own messages are silenced: `OnnxModel.fallback` reports why a provider does not start.
    """
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    load = getattr(ort, "preload_dlls", None)
    if load is not None:
        with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
            load()


def onnxruntime_version() -> str:
    """The version of ONNX Runtime."""
    import onnxruntime as ort

    return str(ort.__version__)


def devices(device: Device) -> tuple[str, ...]:
    """The devices to try for a request, best first. ``auto`` uses a GPU if one is available."""
    import onnxruntime as ort

    available = ort.get_available_providers()
    if device == "auto":
        gpu = ["cuda"] if _PROVIDERS["cuda"][0] in available else ["torch"] if _torch_has_gpu() else []
        return (*gpu, "cpu")
    if device == "torch":
        return ("torch",) if _missing_for_torch() is None else ("cpu",)
    return (device,) if _PROVIDERS[device][0] in available else ("cpu",)


def describe_devices() -> list[tuple[Device, str]]:
    """Each device, and whether models can run on it here."""
    import onnxruntime as ort

    available = ort.get_available_providers()
    described: list[tuple[Device, str]] = [("auto", f"uses {devices('auto')[0]}"), ("cpu", "ONNX Runtime")]
    for name in ("cuda", "tensorrt"):
        provider = _PROVIDERS[name][0]
        described.append((name, f"ONNX Runtime's {provider}" if provider in available else f"no {provider} here"))
    missing = _missing_for_torch()
    gpu = "on a GPU" if _torch_has_gpu() else "without a GPU"
    described.append(("torch", f"PyTorch {gpu}" if missing is None else f"needs {missing}: pip install 'unveil[gpu]'"))
    return described


def _why_unavailable(device: Device, error: str = "") -> str:
    if device == "torch":
        return f"the torch device needs {_missing_for_torch()}; pip install 'unveil[gpu]'"
    if error:
        return (
            f"{_PROVIDERS[device][0]} of ONNX Runtime did not start ({error}). Install the libraries that it names, "
            "or use --device torch, which needs only PyTorch"
        )
    return (
        f"ONNX Runtime here has no {_PROVIDERS[device][0]} that starts. Install onnxruntime-gpu in place of "
        "onnxruntime, and the GPU's driver; or use --device torch, which needs only PyTorch"
    )


def _missing_for_torch() -> str | None:
    """The package that the torch device lacks, and why if it is installed; None if nothing is missing."""
    for module in ("torch", "onnx2torch"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(module)
        except ModuleNotFoundError as error:
            return error.name or module
        except Exception as error:  # a torchvision built for another torch raises RuntimeError
            return f"{module}, which does not start ({_first_line(error)})"
    return None


def _torch_has_gpu() -> bool:
    # Importing torch takes two seconds: skip it if its build has no GPU support or if no graph could be converted.
    if any(importlib.util.find_spec(module) is None for module in ("torch", "onnx2torch")):
        return False
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        if importlib.metadata.version("torch").endswith("+cpu"):
            return False
    import torch

    return bool(torch.cuda.is_available()) and _missing_for_torch() is None


class _FullPrecision:
    """Turns TF32 off in torch for the whole process while a model runs, and restores it after the last call.

    The settings of torch are global, and several threads run models: the first caller saves them, the last restores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_running = 0
        self._saved = (True, False)

    def __enter__(self) -> None:
        from torch.backends import cuda, cudnn

        with self._lock:
            if self._n_running == 0:
                self._saved = (cudnn.allow_tf32, cuda.matmul.allow_tf32)
                cudnn.allow_tf32 = cuda.matmul.allow_tf32 = False
            self._n_running += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from torch.backends import cuda, cudnn

        with self._lock:
            self._n_running -= 1
            if self._n_running == 0:
                cudnn.allow_tf32, cuda.matmul.allow_tf32 = self._saved


_full_precision = _FullPrecision()


def _convert_to_torch(weights: bytes, where: str) -> tuple[Callable[[Tensor], list[Tensor]], str]:
    """The same graph as a torch module, on a GPU if there is one; and its runtime."""
    import onnx
    import onnx2torch
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = onnx2torch.convert(onnx.load_from_string(weights)).eval().to(device)
    except Exception as error:
        raise ModelError(f"{where} cannot be run by torch: {_first_line(error)}; try --device cpu") from None

    def run(tensor: Tensor) -> list[Tensor]:
        with torch.inference_mode(), _full_precision:
            outputs = module(torch.from_numpy(tensor).to(device))
            outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
            return [cast("Tensor", output.float().cpu().numpy()) for output in outputs]

    converter = importlib.metadata.version("onnx2torch")
    return run, f"torch {torch.__version__} {device.type} onnx2torch {converter}"


# Operators that are not run, and why.
REFUSED_OPERATORS = {
    "EPContext": "which loads compiled parts of a model. Use the model that it was compiled from",
    "Loop": "which need not end. Export the model without loops",
}
# Bytes 4 to 8 of ONNX Runtime's own format, in which operators are not looked for.
ORT_FORMAT = b"ORTM"


def reject_unsafe_graph(weights: bytes, where: str) -> None:
    """Raises ModelError if a graph reads other files, weights or compiled parts, anywhere in it, or need not end."""
    if weights[4:8] == ORT_FORMAT:
        raise ModelError(f"{where}: expected a model in ONNX form, found ONNX Runtime's own. Use the ONNX file")
    # Protobuf stores text as it is, in whatever order the fields come.
    if b"location" not in weights and not any(name.encode() in weights for name in REFUSED_OPERATORS):
        return
    import onnx

    try:
        model = onnx.load_from_string(weights)
    except Exception as error:
        raise ModelError(f"{where} cannot be loaded as an ONNX model: {_first_line(error)}") from None
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto) and message.external_data:
            places = [entry.value[:100] for entry in message.external_data if entry.key == "location"]
            raise ModelError(
                f"{where} keeps its weights in another file ({', '.join(map(repr, places))}), which is not opened: a "
                "model must be one file. Its owner can merge them: onnx.save(onnx.load(FILE), NEW_FILE)"
            )
        if isinstance(message, onnx.NodeProto) and message.op_type in REFUSED_OPERATORS:
            raise ModelError(f"{where} has the operator {message.op_type}, {REFUSED_OPERATORS[message.op_type]}")


def _messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all messages in it: branches, constants and functions included."""
    waiting = [message]
    while waiting:
        one = waiting.pop()
        yield one
        for field, value in one.ListFields():
            if field.type == field.TYPE_MESSAGE:
                waiting += list(value) if isinstance(value, Sequence) or hasattr(value, "add") else [value]


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:MAX_ERROR_CHARS] if lines else type(error).__name__
