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
    """Compiled for the shapes of `example`, a batch of inputs; a smaller batch is padded, and the padding dropped."""
    import openvino as ov

    torch.set_num_threads(threads)
    model = ov.convert_model(net.eval(), example_input=example)
    model.reshape({index: list(x.shape) for index, x in enumerate(example)})
    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    options["ENABLE_CPU_PINNING"] = False  # else jobs side by side all pin themselves to the same core
    request = ov.Core().compile_model(model, "CPU", options).create_infer_request()
    batch_size = len(example[0])

    def run(*inputs: Tensor) -> Tensor:
        n = len(inputs[0])
        if n < batch_size:
            inputs = [torch.cat([x, x.new_zeros(batch_size - n, *x.shape[1:])]) for x in inputs]
        # the result is a view of the request's own buffer, which the next call overwrites: hence the clone
        result = request.infer([x.contiguous().numpy() for x in inputs], share_inputs=True, share_outputs=True)
        return torch.from_numpy(result[0])[:n].clone()

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
