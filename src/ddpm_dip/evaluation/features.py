"""The feature nets by name: nets whose features the metrics compare. To add one: an entry in FEATURE_NETS.

Nothing here imports torch before a net is loaded.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..jobs.errors import UserError, nearest
from .displays import to_rgb_uint8, to_uint8

FeatureFunction = Callable[[np.ndarray], np.ndarray]  # images to features (N, D) float32


class FeatureNet(NamedTuple):
    """A net whose features are compared.

    load: from the path of the net's file and a device (cpu or cuda) to a function that takes images of 8 bits to
    features, and raises ValueError where their shape does not fit the net.
    show: from shown pictures (N, C, H, W) in [0, 1] to the images of 8 bits that the net is given.
    not_given: the reason to state where a job has no such net.
    why_not: from the path of the net's file to the reason why it stands for no net; None where there is one.
    needs_labels: whether it is trained on labels, so that a data set without labels has no such net.
    on_gpu: whether it runs on a GPU where the job's device is cuda. The classifiers are too small to gain by it.
    classes: from the path of the net's file to a function from features (N, D) to predicted classes (N,); None where
    the net predicts none.
    """

    load: Callable[[Path, str], FeatureFunction]
    show: Callable[[np.ndarray], np.ndarray]
    not_given: str
    why_not: Callable[[Path], str | None] = lambda path: None
    needs_labels: bool = False
    on_gpu: bool = False
    classes: Callable[[Path], FeatureFunction] | None = None


def classifier(path: Path, device: str) -> FeatureFunction:
    """The features of a classifier, of labels or of rotations, that the stage train_classifier wrote."""
    import torch

    from .classifier import classifier_features, load_classifier

    net = load_classifier(path).to(device)
    return lambda images: classifier_features(net, torch.from_numpy(images).float() / 255)


def classes(path: Path) -> FeatureFunction:
    """The predictions of such a classifier, from its features."""
    from .classifier import load_classifier, predicted_classes

    net = load_classifier(path)
    return lambda features: predicted_classes(net, features)


def inception(path: Path, device: str) -> FeatureFunction:
    """The features of Inception, by the status file that the stage fetch_inception wrote; its weights lie beside it."""
    import torch

    from .inception import inception_features, load_inception

    net = load_inception(path.with_name(inception_status(path)["weights"])).to(device)
    return lambda images: inception_features(net, torch.from_numpy(images))


def inception_status(path: Path) -> dict[str, str | None]:
    """What fetch_inception wrote: `weights`, the name of the file beside, or `not_computed`, why there is none.

    Raises UserError, naming the file, where it is something else.
    """
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
        weights, reason = status["weights"], status["not_computed"]
        if isinstance(weights or reason, str) and (not weights or weights == Path(weights).name):
            return {"weights": weights, "not_computed": None if weights else reason}
    except (OSError, ValueError, KeyError, TypeError):  # ValueError: no JSON, or no text at all
        pass
    raise UserError(f"{path}: not what fetch_inception writes; right is its .json file, with the weights beside it")


NO_ROTATION_NET = "no net that tells rotations was given; it is for images without labels"
FEATURE_NETS = {
    "classifier": FeatureNet(classifier, to_uint8, "no classifier was given", needs_labels=True, classes=classes),
    "classifier-2": FeatureNet(
        classifier, to_uint8, "no second classifier was given", needs_labels=True, classes=classes
    ),
    "rotation": FeatureNet(classifier, to_uint8, NO_ROTATION_NET),
    "rotation-2": FeatureNet(classifier, to_uint8, NO_ROTATION_NET),
    "inception": FeatureNet(
        inception,
        to_rgb_uint8,
        "not asked for, or no Inception weights at hand",
        why_not=lambda path: inception_status(path)["not_computed"],
        on_gpu=True,
    ),
}


def check_names(names: list[str]) -> None:
    """Raises UserError where one is no feature net's."""
    for name in names:
        if name not in FEATURE_NETS:
            raise UserError(f"nets: there is no feature net {name!r}; {nearest(name, FEATURE_NETS)}")


def unavailable(name: str, path: Path | None) -> str | None:
    """Why there is no net of this name; None where there is one. path: its file, None where a job has none."""
    return FEATURE_NETS[name].not_given if path is None else FEATURE_NETS[name].why_not(path)


def device_of(names: list[str], device: str) -> str:
    """`device` (cpu or cuda) where one of these nets runs on it, else cpu."""
    return device if any(FEATURE_NETS[name].on_gpu for name in names) else "cpu"


def load(name: str, path: Path, device: str = "cpu", threads: int = 1) -> FeatureFunction:
    """A function from shown pictures (N, C, H, W) in [0, 1] to their features (N, D) float32, whatever the batch.

    device: cpu or cuda; threads: how many PyTorch may use, in the whole process. Raises UserError where the file, which
    it names, holds no such net, and where there is no GPU. The function raises ValueError where the images do not fit.
    """
    import torch

    device = device_of([name], device)
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda needs a torch with CUDA that sees a GPU; this one sees none")
    torch.set_num_threads(threads)
    net = FEATURE_NETS[name]
    features = net.load(path, device)
    return lambda pictures: features(net.show(pictures))


def load_classes(name: str, path: Path) -> FeatureFunction | None:
    """A function from that net's features (N, D) to the classes (N,) that it predicts; None where it predicts none."""
    return FEATURE_NETS[name].classes and FEATURE_NETS[name].classes(path)
