"""Models on devices: what happens where a device is missing, and the same graph under torch."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import threading
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.builders import SHARED, needs_real_data
from tests.models import described_model, small_model, spot_detector
from unveil.channels import FaceChannel
from unveil.choices import Device
from unveil.errors import ModelError
from unveil.faces import onnx_model
from unveil.faces.embedding_model import EmbeddingModel
from unveil.faces.onnx_model import CPU_BATCH, OnnxModel, devices

CROPS = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)


def has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


needs_no_gpu = pytest.mark.skipif(has_gpu(), reason="there is a GPU")


@pytest.fixture
def torch_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: the torch device is not tested")
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        # onnx2torch imports it for two operators that no face model has; none fits CI's CPU build of PyTorch.
        vision, ops = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
        vision.ops, ops.roi_align = ops, None  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "torchvision", vision)
        monkeypatch.setitem(sys.modules, "torchvision.ops", ops)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("onnx2torch", reason="onnx2torch is not installed: the torch device is not tested")


@pytest.mark.parametrize("output", ["sequence", "text", "bool"])
def test_an_output_that_is_no_array_of_numbers_is_refused(output: str, tmp_path: Path) -> None:
    model = onnx.load_from_string(small_model())
    result = model.graph.output[0]
    name, number = result.name, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    kind, node = {
        "sequence": (helper.make_sequence_type_proto(number), helper.make_node("SequenceConstruct", [name], ["z"])),
        "text": (
            helper.make_tensor_type_proto(TensorProto.STRING, None),
            helper.make_node("Cast", [name], ["z"], to=TensorProto.STRING),
        ),
        "bool": (
            helper.make_tensor_type_proto(TensorProto.BOOL, None),
            helper.make_node("Cast", [name], ["z"], to=TensorProto.BOOL),
        ),
    }[output]
    model.graph.node.append(node)
    result.CopyFrom(helper.make_value_info("z", kind))
    with pytest.raises(ModelError, match=r"expected an array of numbers as output z, found"):
        EmbeddingModel(described_model(tmp_path, model.SerializeToString())).embed(CROPS)


def test_a_batch_of_no_images_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(small_model())
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 0
    with pytest.raises(ModelError, match=r"expected open axes or axes from 1 on, found an input of \[0, 3"):
        EmbeddingModel(described_model(tmp_path, model.SerializeToString()))


@needs_no_gpu
def test_without_a_gpu_auto_is_the_processor_without_a_message(tmp_path: Path) -> None:
    model = EmbeddingModel(described_model(tmp_path, small_model()), device="auto")
    assert (model.runs_on, model.fallback) == ("cpu", "") and devices("auto") == ("cpu",)


@needs_no_gpu
def test_a_build_of_torch_without_gpu_support_is_not_imported() -> None:
    if importlib.util.find_spec("torch") is not None and not importlib.metadata.version("torch").endswith("+cpu"):
        pytest.skip("a build of PyTorch with GPU support")
    program = "import sys; from unveil.faces.onnx_model import devices; print(devices('auto'), 'torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout == "('cpu',) False\n"


@needs_no_gpu
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_missing_gpu_is_reported_and_the_processor_is_used(tmp_path: Path, device: Device) -> None:
    channel = FaceChannel(described_model(tmp_path, small_model()), device)
    assert channel.model.runs_on == "cpu"
    assert "runs on cpu: ONNX Runtime here has no" in channel.model.fallback
    assert "onnxruntime-gpu" in channel.model.fallback
    plain = FaceChannel(tmp_path / "net.onnx")
    assert np.array_equal(channel.embed(CROPS), plain.embed(CROPS)) and plain.model.fallback == ""
    assert channel.runtime == plain.runtime, "the device in use is named, not the requested one"


def test_a_provider_that_does_not_start_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime uses the processor without a message if CUDA's libraries are missing."""
    monkeypatch.setattr(onnx_model, "devices", lambda device: ("cuda", "cpu"))
    model = OnnxModel(small_model(), "net", device="cuda")
    assert (model.runs_on == "cuda") == (model.fallback == "") == ("CUDAExecutionProvider" in model.runtime)
    with pytest.raises(ModelError, match="cannot be loaded"):
        OnnxModel(b"damaged", "net", device="cuda")


def test_why_a_provider_does_not_start_is_reported_and_nothing_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnxruntime as ort

    real, preloaded = ort.InferenceSession, []

    def session(*args: Any, providers: list[Any], **options: Any) -> Any:
        if providers[0][0] == "TensorrtExecutionProvider":
            if options.get("enable_fallback", 1):
                print("EP Error, falling back")
            raise RuntimeError("libnvinfer.so.10: cannot open shared object file")
        return real(*args, providers=providers, **options)

    def preload() -> None:
        print("Failed to load libcublas.so.13")
        preloaded.append(True)

    monkeypatch.setattr(ort, "InferenceSession", session)
    monkeypatch.setattr(ort, "preload_dlls", preload, raising=False)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["TensorrtExecutionProvider", "CPUExecutionProvider"])
    onnx_model._load_cuda_libraries.cache_clear()
    channel = FaceChannel(described_model(tmp_path, small_model()), "tensorrt")
    onnx_model._load_cuda_libraries.cache_clear()
    assert channel.model.runs_on == "cpu" and preloaded == [True]
    assert (
        "TensorrtExecutionProvider of ONNX Runtime did not start (libnvinfer.so.10: cannot open"
        in channel.model.fallback
    )
    assert capsys.readouterr() == ("", "")


def test_without_torch_its_device_is_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_model, "_missing_for_torch", lambda: "onnx2torch")
    model = EmbeddingModel(described_model(tmp_path, small_model()), device="torch")
    assert model.runs_on == "cpu" and "needs onnx2torch; pip install 'unveil[gpu]'" in model.fallback


@pytest.mark.usefixtures("torch_is_installed")
def test_torch_gives_the_same_vectors_under_another_runtime(tmp_path: Path) -> None:
    path = described_model(tmp_path, small_model())
    by_torch, by_ort = EmbeddingModel(path, device="torch", seconds_per_batch=0), EmbeddingModel(path)
    assert by_torch.runs_on == "torch" and by_torch.fallback == ""
    assert np.abs(by_torch.embed(CROPS) - by_ort.embed(CROPS)).max() < 1e-5
    assert by_torch.batch >= CPU_BATCH
    assert by_torch.runtime.startswith("torch ") and by_ort.runtime.startswith("onnxruntime ")


@pytest.fixture
def tf32_is_on(torch_is_installed: None) -> Iterator[None]:
    """As in a program that has turned TF32 on for its own models."""
    from torch.backends import cuda, cudnn

    before = (cudnn.allow_tf32, cuda.matmul.allow_tf32)
    cudnn.allow_tf32 = cuda.matmul.allow_tf32 = True
    yield
    cudnn.allow_tf32, cuda.matmul.allow_tf32 = before


@pytest.mark.usefixtures("tf32_is_on")
def test_settings_of_torch_and_warnings_change_only_while_a_model_runs() -> None:
    import torch
    from torch.backends import cuda, cudnn

    filters = list(warnings.filters)
    model = OnnxModel(small_model(), "net", device="torch")
    assert warnings.filters == filters and (cudnn.allow_tf32, cuda.matmul.allow_tf32) == (True, True)
    observed: list[tuple[bool, bool, bool]] = []
    both_run = threading.Barrier(2, timeout=30)

    def after_forward(module: torch.nn.Module, inputs: object, output: object) -> None:
        if isinstance(module, torch.fx.GraphModule):
            both_run.wait()
            observed.append((cudnn.allow_tf32, cuda.matmul.allow_tf32, warnings.filters == filters))
            both_run.wait()

    hook = torch.nn.modules.module.register_module_forward_hook(after_forward)
    try:
        tensor = np.zeros((1, 3, 112, 112), np.float32)
        threads = [threading.Thread(target=model.run, args=(tensor,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        hook.remove()
    assert observed == [(False, False, True)] * 2
    assert (cudnn.allow_tf32, cuda.matmul.allow_tf32) == (True, True) and warnings.filters == filters


@pytest.mark.usefixtures("torch_is_installed")
def test_several_outputs_under_torch_are_in_order(tmp_path: Path) -> None:
    weights = spot_detector(tmp_path, side=64).read_bytes()
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 64)).astype(np.float32)
    by_ort = OnnxModel(weights, "spots").run(image)
    by_torch = OnnxModel(weights, "spots", device="torch").run(image)
    assert len(by_torch) == len(by_ort) == 12
    assert all(np.abs(a - b).max() < 1e-4 for a, b in zip(by_torch, by_ort, strict=True))


@pytest.mark.real
@needs_real_data
@pytest.mark.usefixtures("torch_is_installed")
@pytest.mark.parametrize("model", [None, "mobilefacenet/mobilefacenet_foamliu.onnx"])
def test_real_models_agree_under_torch(model: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    # Which batch is fastest is not the point, and the largest take half a minute.
    monkeypatch.setattr(onnx_model, "BATCHES", (CPU_BATCH,))
    path = None if model is None else SHARED / "models" / model
    by_torch, by_ort = EmbeddingModel(path, device="torch", seconds_per_batch=0), EmbeddingModel(path)
    size = by_ort.spec.input_size
    crops = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    assert np.abs(by_torch.embed(crops) - by_ort.embed(crops)).max() < 1e-5


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu(), reason="no GPU")
@pytest.mark.parametrize("device", ["auto", "cuda", "torch"])
def test_a_gpu_agrees_with_the_processor(device: Device) -> None:
    on_device, on_cpu = FaceChannel(None, device), FaceChannel(None)
    crops = np.random.default_rng(0).integers(0, 256, (64, 150, 150, 3), np.uint8)
    assert (on_device.model.runs_on == "cpu") == (on_device.runtime == on_cpu.runtime)
    assert on_device.model.runs_on != "cpu" or on_device.model.fallback
    assert (on_device.embed(crops) * on_cpu.embed(crops)).sum(1).min() > 0.9999


@pytest.mark.parametrize("size", [1, 7, 8, 9, 33])
def test_the_batch_size_changes_no_vector(size: int) -> None:
    crops = np.random.default_rng(size).integers(0, 256, (size, 150, 150, 3), np.uint8)
    model = EmbeddingModel()
    one_by_one = np.concatenate([model.embed(crop[None]) for crop in crops])
    assert np.array_equal(model.embed(crops), one_by_one)


def test_weights_in_other_files_are_rejected_wherever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.zeros(12, np.float32).tofile(tmp_path / "weights.bin")
    monkeypatch.chdir(tmp_path)
    model = onnx.load_from_string(small_model())
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for place in ("weights.bin", "../weights.bin", str(tmp_path / "weights.bin"), "/etc/passwd"):
        del weights.external_data[:]
        for key, value in (("location", place), ("length", "48")):
            entry = weights.external_data.add()
            entry.key, entry.value = key, value
        with pytest.raises(ModelError, match="keeps its weights in another file"):
            OnnxModel(model.SerializeToString(), "net")
        # Whatever the order of the entries.
        weights.external_data.reverse()
        with pytest.raises(ModelError, match="keeps its weights in another file"):
            OnnxModel(model.SerializeToString(), "net")


def _outside(tensor: TensorProto) -> TensorProto:
    """The same tensor with its values in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return tensor


@pytest.mark.parametrize("place", ["branch", "constant", "constants", "function", "sparse", "training"])
def test_weights_in_other_files_are_found_anywhere_in_a_graph(place: str) -> None:
    tensor = _outside(numpy_helper.from_array(np.zeros(3, np.float32), "t"))
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    inner = helper.make_graph([constant], "inner", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [3])])
    model = onnx.load_from_string(small_model())
    if place == "branch":
        model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))
    elif place == "constant":
        model.graph.node.append(constant)
    elif place == "constants":
        model.graph.node.append(helper.make_node("Any", [], ["z"], several=[tensor]))
    elif place == "function":
        model.functions.append(helper.make_function("d", "f", [], ["c"], [constant], [helper.make_opsetid("", 17)]))
    elif place == "sparse":
        sparse = model.graph.sparse_initializer.add()
        sparse.values.CopyFrom(tensor)
    else:
        model.training_info.add().algorithm.CopyFrom(inner)
    with pytest.raises(ModelError, match=r"keeps its weights in another file \('/etc/passwd'\)"):
        OnnxModel(model.SerializeToString(), "net")


def test_an_unusual_encoding_hides_no_other_file() -> None:
    """Protobuf allows a length in more bytes than it needs."""
    model = onnx.load_from_string(small_model())
    _outside(model.graph.initializer[0])
    weights = model.SerializeToString()
    usual, unusual = b"\x0a\x08location", b"\x0a\x88\x00location"
    assert usual in weights
    entry = model.graph.initializer[0].external_data[0].SerializeToString()
    longer = entry.replace(usual, unusual)
    # The lengths of all messages around it grow by one; a message may come in pieces, which are merged.
    tensor = TensorProto(name="w")
    piece = tensor.SerializeToString() + bytes([13 << 3 | 2, len(longer)]) + longer
    graph = bytes([5 << 3 | 2, len(piece)]) + piece
    hidden = small_model() + bytes([7 << 3 | 2, len(graph)]) + graph
    assert usual not in hidden and unusual in hidden
    with pytest.raises(ModelError, match="keeps its weights in another file"):
        OnnxModel(hidden, "net")


def test_compiled_parts_of_a_model_are_refused() -> None:
    model = onnx.load_from_string(small_model())
    node = helper.make_node("EPContext", ["x"], ["z"], domain="com.microsoft", embed_mode=0, ep_cache_context="x.so")
    model.graph.node.append(node)
    with pytest.raises(ModelError, match="the operator EPContext, which loads compiled parts"):
        OnnxModel(model.SerializeToString(), "net")


def test_a_loop_and_the_format_of_onnx_runtime_are_refused() -> None:
    model = onnx.load_from_string(small_model())
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], [], body=body))
    with pytest.raises(ModelError, match="the operator Loop, which need not end"):
        OnnxModel(model.SerializeToString(), "net")
    with pytest.raises(ModelError, match="found ONNX Runtime's own"):
        OnnxModel(b"\x20\0\0\0ORTM" + bytes(100), "net")


def test_a_name_that_contains_location_is_no_other_file() -> None:
    model = onnx.load_from_string(small_model())
    model.graph.name = "spatial_location"
    assert OnnxModel(model.SerializeToString(), "net").run(np.zeros((1, 3, 112, 112), np.float32))
