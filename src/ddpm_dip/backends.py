"""What runs a trained net while sampling: PyTorch eager, the reference, or OpenVINO, the faster one on CPUs."""

import importlib.util
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from .errors import UserError

Compiled = Callable[..., Tensor]


def torch_eager(net: nn.Module, example: tuple[Tensor, ...], threads: int) -> Compiled:
    torch.set_num_threads(threads)
    return net.eval()


def openvino(net: nn.Module, example: tuple[Tensor, ...], threads: int, precision: str = "f32") -> Compiled:
    """Compiled for the shapes of `example`; of a smaller batch the rest is computed, too, and dropped."""
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

    def run(*inputs: Tensor) -> Tensor:
        n = len(inputs[0])
        for buffer, x in zip(buffers, inputs, strict=True):
            if len(x) not in (n, len(buffer)):
                raise ValueError(f"{len(x)} values for {n} images, compiled for {len(buffer)}")
            buffer[: len(x)] = x
        request.infer()
        return result[:n].clone()

    return run


BACKENDS: dict[str, Callable[[nn.Module, tuple[Tensor, ...], int], Compiled]] = {
    "torch": torch_eager,
    "openvino": openvino,
    "openvino-bf16": partial(openvino, precision="bf16"),  # faster where the CPU has it, and less exact
}


def one_by_one(net: nn.Module) -> Compiled:
    """`net` on one image at a time, so that an image's rounding does not depend on its batch."""
    return lambda x: torch.cat([net(image) for image in x.split(1)])


def resolve(backend: str) -> str:
    """The backend that `auto` means here, or the one named. Raises UserError where it is not installed."""
    installed = importlib.util.find_spec("openvino") is not None
    if backend == "auto":
        return "openvino" if installed else "torch"
    if backend.startswith("openvino") and not installed:
        raise UserError("sampling.backend: openvino is not installed; `pip install openvino`, or say torch or auto")
    return backend
