"""What runs a trained net while sampling: PyTorch eager, the reference; lanes and OpenVINO, faster; a CUDA graph.

A backend is a function of (net, example inputs, threads). It returns the net as a function of CPU tensors, for batches
up to the example's.
"""

import copy
import importlib
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..jobs.errors import UserError
from ..models import gpu

Compiled = Callable[..., Tensor]


def torch_eager(net: nn.Module, example: tuple[Tensor, ...], threads: int) -> Compiled:
    """The net itself, in eval mode."""
    torch.set_num_threads(threads)
    return net.eval()


def openvino(net: nn.Module, example: tuple[Tensor, ...], threads: int, precision: str = "f32") -> Compiled:
    """The net compiled for the shapes of `example`; a smaller batch is computed at that size, and the rest dropped."""
    # left in place, OpenVINO reports every import and conversion to its makers, from twenty forks of this process
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino as ov

    torch.set_num_threads(1)  # its threads spin for a while after each addition, on the cores that OpenVINO's need
    # traced by us, as OpenVINO's own call checks its trace, which takes longer than all the rest of the conversion
    model = ov.convert_model(torch.jit.trace(net.eval(), example, check_trace=False))
    model.reshape({index: list(x.shape) for index, x in enumerate(example)})
    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    options["ENABLE_CPU_PINNING"] = False  # else jobs side by side all pin themselves to the same core
    request = ov.Core().compile_model(model, "CPU", options).create_infer_request()
    # bound once: handing over arrays at each call takes as long as a fifth of hw4 on one image
    buffers = [torch.zeros_like(x) for x in example]
    result = torch.empty(*request.get_output_tensor().shape)
    for index, buffer in enumerate(buffers):
        request.set_input_tensor(index, ov.Tensor(buffer.numpy(), shared_memory=True))
    request.set_output_tensor(ov.Tensor(result.numpy(), shared_memory=True))
    return with_buffers(buffers, partial(request.infer, share_outputs=True), result)


@torch.inference_mode()
def check_traced(net: nn.Module, compiled: Compiled, shape: tuple[int, ...], t: int, backend: str) -> None:
    """Raises UserError where a net that was traced at timestep 0 is not the net at t: one image (C, H, W) is tried.

    A trace keeps the numbers that a net takes from t by float(t[0]), say.
    """
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    right, found = net(x, torch.tensor([t])), compiled(x, torch.tensor([t]))
    allowed = 0.1 if backend.endswith("bf16") else 1e-3
    if not (found - right).norm() <= allowed * right.norm():
        raise UserError(
            f"sampling.backend: by {backend} the net predicts something else at timestep {t} than by PyTorch, as what "
            "it does with t cannot be traced; say sampling.backend: torch"
        )


def lanes(net: nn.Module, example: tuple[Tensor, ...], threads: int) -> Compiled:
    """A U-Net of the builder with images side by side in the CPU's vector lanes; any batch."""
    # by name: what another backend made does not depend on this one's code
    return importlib.import_module(LANES).sampling(net, example, threads)


def cuda(net: nn.Module, example: tuple[Tensor, ...], threads: int, precision: str = "f32") -> Compiled:
    """`cuda_graph`, from CPU tensors to a CPU tensor."""
    torch.set_num_threads(threads)
    run = cuda_graph(net, example, precision)
    return lambda *inputs: run(*inputs).cpu()


def cuda_graph(net: nn.Module, example: tuple[Tensor, ...], precision: str = "f32") -> Compiled:
    """The net as one CUDA graph for the shapes of `example`: one launch runs all its kernels. The result stays there.

    precision: f32; tf32 for convolutions and matrix products; bf16 for what autocast gives to it.
    Raises UserError where PyTorch sees no GPU.
    """
    gpu.prepare("sampling.backend", tf32=precision == "tf32")
    net, buffers = copy.deepcopy(net).eval().to("cuda"), [torch.zeros_like(x, device="cuda") for x in example]
    if precision == "bf16":  # the convolutions' weights now, or autocast converts them in each step
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.to(torch.bfloat16)
    graph, beside = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    autocast = torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)
    with torch.no_grad(), autocast:
        # what libraries set up at their first calls must not be captured (PyTorch's notes on CUDA graphs)
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(3):
                net(*buffers)
        torch.cuda.current_stream().wait_stream(beside)
        with torch.cuda.graph(graph):
            result = net(*buffers).float()

    def replay(net: nn.Module = net) -> None:  # the graph reads the net's weights, but does not keep them
        graph.replay()

    return with_buffers(buffers, replay, result)


def with_buffers(buffers: list[Tensor], compute: Callable[[], object], result: Tensor) -> Compiled:
    """A function of tensors that returns a new one, around a `compute` that goes from fixed buffers to a fixed result.

    Each input is as its buffer is, or as the buffer's first n rows, with one n for all. Raises ValueError otherwise.
    """

    def run(*inputs: Tensor) -> Tensor:
        n = len(inputs[0])
        for buffer, x in zip(buffers, inputs, strict=True):
            if x.shape not in (buffer.shape, buffer[:n].shape):
                raise ValueError(f"{tuple(x.shape)} for {n} images, compiled for {tuple(buffer.shape)}")
            buffer[: len(x)] = x
        compute()
        return result[:n].clone()

    return run


LANES = "ddpm_dip.models.lanes_unet"
CUDA = {"cuda": "f32", "cuda-tf32": "tf32", "cuda-bf16": "bf16"}  # and their precisions
BACKENDS: dict[str, Callable[[nn.Module, tuple[Tensor, ...], int], Compiled]] = {
    "torch": torch_eager,
    "lanes": lanes,
    "openvino": openvino,
    "openvino-bf16": partial(openvino, precision="bf16"),  # faster where the CPU has it, and less exact
} | {name: partial(cuda, precision=precision) for name, precision in CUDA.items()}


def one_by_one(net: nn.Module) -> Compiled:
    """`net` on one image at a time, so that an image's rounding does not depend on its batch."""
    return lambda x: torch.cat([net(image) for image in x.split(1)])


def device(backend: str | None) -> str:
    """Where a backend computes: the GPU's name, or cpu."""
    return gpu.name("cuda" if backend in CUDA else "cpu")
