"""Where networks run: devices, what happens where they are missing, and the same graph under torch."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import SHARED, needs_real_data
from tests.models import described, small_model, spot_detector
from unveil.channels import FaceChannel
from unveil.errors import ModelError
from unveil.faces import onnx_model as onnx_module
from unveil.faces.embedding_model import EmbeddingModel
from unveil.faces.onnx_model import CPU_BATCH, OnnxModel, devices

CROPS = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)


def has_card() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


needs_no_card = pytest.mark.skipif(has_card(), reason="there is a graphics card")


@pytest.fixture
def torch_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="PyTorch is not here: the torch path is not tested")
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        # onnx2torch imports it for two operators that no face network has; none fits CI's CPU build of PyTorch.
        vision, ops = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
        vision.ops, ops.roi_align = ops, None  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "torchvision", vision)
        monkeypatch.setitem(sys.modules, "torchvision.ops", ops)
    monkeypatch.setattr(onnx_module, "_TRIED_SECONDS", 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("onnx2torch", reason="onnx2torch is not here: the torch path is not tested")


@needs_no_card
def test_without_a_card_auto_is_the_processor_and_says_nothing(tmp_path: Path) -> None:
    network = EmbeddingModel(described(tmp_path, small_model()), device="auto").network
    assert (network.runs_on, network.told) == ("cpu", "") and devices("auto") == ("cpu",)


@needs_no_card
def test_a_build_of_torch_that_knows_no_card_is_not_imported() -> None:
    if importlib.util.find_spec("torch") is not None and not importlib.metadata.version("torch").endswith("+cpu"):
        pytest.skip("a build of PyTorch for cards")
    program = "import sys; from unveil.faces.onnx_model import devices; print(devices('auto'), 'torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "('cpu',) False\n"


@needs_no_card
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_card_that_is_missing_is_told_and_the_processor_taken(tmp_path: Path, device: onnx_module.Device) -> None:
    channel = FaceChannel(described(tmp_path, small_model()), device)
    assert channel.runs_on == "cpu"
    assert "runs on cpu: ONNX Runtime here has no" in channel.told and "onnxruntime-gpu" in channel.told
    plain = FaceChannel(tmp_path / "net.onnx")
    assert np.array_equal(channel.embed(CROPS), plain.embed(CROPS)) and plain.told == ""


def test_a_provider_that_does_not_start_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime takes the processor without a word when CUDA's libraries are not found."""
    monkeypatch.setattr(onnx_module, "devices", lambda device: ("cuda", "cpu"))
    network = OnnxModel(small_model(), "net", device="cuda")
    assert network.runs_on == "cuda" or "runs on cpu" in network.told
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
    onnx_module._load_cuda_libraries.cache_clear()
    channel = FaceChannel(described(tmp_path, small_model()), "tensorrt")
    onnx_module._load_cuda_libraries.cache_clear()
    assert channel.runs_on == "cpu" and preloaded == [True]
    assert "TensorrtExecutionProvider of ONNX Runtime did not start (libnvinfer.so.10: cannot open" in channel.told
    assert capsys.readouterr() == ("", "")


def test_without_torch_its_path_is_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_module, "_torch_missing", lambda: "onnx2torch")
    network = EmbeddingModel(described(tmp_path, small_model()), device="torch").network
    assert network.runs_on == "cpu" and "needs onnx2torch; pip install 'unveil[gpu]'" in network.told


@pytest.mark.usefixtures("torch_is_here")
def test_torch_gives_the_same_vectors(tmp_path: Path) -> None:
    model = described(tmp_path, small_model())
    by_torch, by_ort = EmbeddingModel(model, device="torch"), EmbeddingModel(model)
    assert by_torch.network.runs_on == "torch" and by_torch.network.told == ""
    assert np.abs(by_torch.embed(CROPS) - by_ort.embed(CROPS)).max() < 1e-5
    assert by_torch.batch >= CPU_BATCH


@pytest.mark.usefixtures("torch_is_here")
def test_several_outputs_under_torch_are_in_order(tmp_path: Path) -> None:
    weights = spot_detector(tmp_path, side=64).read_bytes()
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 64)).astype(np.float32)
    theirs = OnnxModel(weights, "spots").run(image)
    ours = OnnxModel(weights, "spots", device="torch").run(image)
    assert len(ours) == len(theirs) == 12
    assert all(np.abs(a - b).max() < 1e-4 for a, b in zip(ours, theirs, strict=True))


@pytest.mark.real
@needs_real_data
@pytest.mark.usefixtures("torch_is_here")
@pytest.mark.parametrize("model", [None, "mobilefacenet/mobilefacenet_foamliu.onnx"])
def test_real_networks_agree_under_torch(model: str | None) -> None:
    path = None if model is None else SHARED / "models" / model
    by_torch, by_ort = EmbeddingModel(path, device="torch"), EmbeddingModel(path)
    size = by_ort.spec.input_size
    crops = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    assert np.abs(by_torch.embed(crops) - by_ort.embed(crops)).max() < 1e-5


@pytest.mark.gpu
@pytest.mark.skipif(not has_card(), reason="no graphics card")
@pytest.mark.parametrize("device", ["auto", "cuda", "torch"])
def test_a_card_agrees_with_the_processor(device: onnx_module.Device) -> None:
    there, here = FaceChannel(None, device), FaceChannel(None)
    crops = np.random.default_rng(0).integers(0, 256, (64, 150, 150, 3), np.uint8)
    assert there.runs_on != "cpu" or there.told
    assert (there.embed(crops) * here.embed(crops)).sum(1).min() > 0.9999


@pytest.mark.parametrize("size", [1, 7, 8, 9, 33])
def test_batches_change_nothing(tmp_path: Path, size: int) -> None:
    crops = np.random.default_rng(size).integers(0, 256, (size, 150, 150, 3), np.uint8)
    network = EmbeddingModel()
    one_by_one = np.concatenate([network.embed(crop[None]) for crop in crops])
    assert np.array_equal(network.embed(crops), one_by_one)


def test_weights_in_other_files_are_refused_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx
    from onnx import TensorProto

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
        # However its parts are ordered.
        weights.external_data.reverse()
        with pytest.raises(ModelError, match="keeps its weights in another file"):
            OnnxModel(model.SerializeToString(), "net")
