"""What runs a trained U-Net while sampling: PyTorch eager, the reference, or OpenVINO, the faster one on CPUs."""

import importlib.util
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from .errors import UserError
from .sampling import Net


def torch_eager(net: nn.Module, image_shape: tuple[int, int, int], batch_size: int, threads: int) -> Net:
    torch.set_num_threads(threads)
    return net.eval()


def openvino(
    net: nn.Module, image_shape: tuple[int, int, int], batch_size: int, threads: int, precision: str = "f32"
) -> Net:
    """Compiled for one batch size; a smaller batch is padded, and the padding dropped."""
    import openvino as ov

    torch.set_num_threads(threads)
    example = (torch.zeros(batch_size, *image_shape), torch.zeros(batch_size, dtype=torch.int64))
    model = ov.convert_model(net.eval(), example_input=example)
    model.reshape({0: [batch_size, *image_shape], 1: [batch_size]})
    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    options["ENABLE_CPU_PINNING"] = False  # else jobs side by side all pin themselves to the same core
    request = ov.Core().compile_model(model, "CPU", options).create_infer_request()

    def run(x: Tensor, t: Tensor) -> Tensor:
        n = len(x)
        if n < batch_size:
            x = torch.cat([x, x.new_zeros(batch_size - n, *image_shape)])
            t = torch.cat([t, t.new_zeros(batch_size - n)])
        # the result is a view of the request's own buffer, which the next call overwrites: hence the clone
        result = request.infer([x.contiguous().numpy(), t.numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(result[0])[:n].clone()

    return run


BACKENDS: dict[str, Callable[[nn.Module, tuple[int, int, int], int, int], Net]] = {
    "torch": torch_eager,
    "openvino": openvino,
    "openvino-bf16": partial(openvino, precision="bf16"),  # faster where the CPU has it, and less exact
}


def resolve(backend: str) -> str:
    """The backend that `auto` means here, or the one named. Raises UserError where it is not installed."""
    installed = importlib.util.find_spec("openvino") is not None
    if backend == "auto":
        return "openvino" if installed else "torch"
    if backend.startswith("openvino") and not installed:
        raise UserError("sampling.backend: openvino is not installed; `pip install openvino`, or say torch or auto")
    return backend
