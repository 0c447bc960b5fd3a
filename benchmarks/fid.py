"""FID: our Inception features and our distance against pytorch-fid's own, on the same images and the same weights.

The weights are random stand-ins of the right shapes (the real ones are a download of 95 MB, and cost the same time).
Parts:
  features   pytorch-fid, the baseline, reads PNG files by its own loader, as it always does; ours takes pixels in
             memory, as the stage evaluate does. One unit is an image: 28x28, grey, given as RGB
  distance   from means and covariances of --dims features: pytorch_fid.fid_score.calculate_frechet_distance, the
             baseline, against evaluation.frechet. One unit is a distance. `full`: more samples than features;
             `few`: 256 samples against 512, from features to distance, where ours needs no covariance
  control    each baseline once more: the machine's noise
"""

import sys
import tempfile
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import common
import numpy as np
import torch
from PIL import Image
from torch import nn

from ddpm_dip.data import torchvision_import  # noqa: F401
from ddpm_dip.evaluation import inception
from ddpm_dip.evaluation.frechet import frechet_distance, frechet_distance_from_statistics, statistics
from ddpm_dip.jobs import errors

# isort: split
import pytorch_fid.inception
from pytorch_fid.fid_score import calculate_frechet_distance, get_activations

KEYS = ["part", "threads"]
FEW = (256, 512)  # samples of the two sets


def stand_in_weights(path: Path) -> None:
    """pytorch-fid's architecture with random weights, as tests/unit/test_inception.py makes it."""
    with (
        mock.patch.object(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: {}),
        mock.patch.object(nn.Module, "load_state_dict"),
    ):
        torch.manual_seed(0)
        net = pytorch_fid.inception.fid_inception_v3()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)  # else nothing is left after 94 layers
    torch.save(net.state_dict(), path)


def grey_images(n: int) -> np.ndarray:
    """(n, 28, 28) uint8: smooth random pictures."""
    coarse = torch.rand(n, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    return (nn.functional.interpolate(coarse, 28, mode="bilinear")[:, 0] * 255).byte().numpy()


def feature_arms(folder: Path, n: int, batch: int) -> tuple[dict, float]:
    """Arms, and the largest difference between the two arms' features, in standard deviations of a feature."""
    images = grey_images(n)
    paths = [folder / f"{i}.png" for i in range(n)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    rgb = torch.from_numpy(np.repeat(images[:, None], 3, axis=1))
    stand_in_weights(folder / "weights.pth")
    net = inception.load_inception(folder / "weights.pth", verify=False)
    arms = {
        "pytorch-fid": lambda: quietly(lambda: get_activations(paths, net, batch, 2048, "cpu", num_workers=0)),
        "ours": lambda: inception.inception_features(net, rgb, batch),
    }
    theirs, mine = arms["pytorch-fid"](), arms["ours"]()
    return arms, float(np.abs(theirs - mine).max() / theirs.std())


def quietly(run):
    """Without pytorch-fid's progress bar."""
    with mock.patch("pytorch_fid.fid_score.tqdm", lambda items: items):
        return run()


def made_features(n: int, dims: int, seed: int) -> np.ndarray:
    """(n, dims) float32, correlated, with variances that fall as real features' do."""
    rng = np.random.default_rng(seed)
    scale = (1 + np.arange(dims)) ** -0.5
    mixed = rng.standard_normal((n, dims)) * scale
    return (mixed + 0.3 * rng.standard_normal((n, 1)) + 0.1 * seed).astype(np.float32)


def distance_arms(part: str, dims: int) -> tuple[dict, float]:
    """Arms, and the relative difference between the two arms' distances."""
    counts = FEW if part == "distance-few" else (dims + dims // 4, dims + dims // 2)
    a, b = (made_features(n, dims, seed) for seed, n in enumerate(counts))
    if part == "distance-few":
        arms = {
            "pytorch-fid": lambda: calculate_frechet_distance(*cov(a), *cov(b)),
            "ours": lambda: frechet_distance(a, b),
        }
    else:
        of_a, of_b = statistics(a), statistics(b)
        arms = {
            "pytorch-fid": lambda: calculate_frechet_distance(*of_a, *of_b),
            "ours": lambda: frechet_distance_from_statistics(*of_a, *of_b),
        }
    theirs, mine = arms["pytorch-fid"](), arms["ours"]()
    print(f"{part}, {dims} features, {counts[0]} and {counts[1]} samples: pytorch-fid {theirs:.9g}, ours {mine:.9g}")
    return arms, float(abs(mine - theirs) / abs(theirs))


def cov(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As pytorch-fid's calculate_activation_statistics does it; its features are float64 by then."""
    features = features.astype(np.float64)
    return features.mean(0), np.cov(features, rowvar=False)


def main() -> None:
    parser = common.parser(__doc__, rounds=2)
    parser.add_argument("--images", type=errors.at_least(2), default=16, help="for the features")
    parser.add_argument("--batch-size", type=errors.at_least(1), default=16)
    parser.add_argument("--dims", type=errors.at_least(2), default=2048, help="features, for the distances")
    args = parser.parse_args()

    from threadpoolctl import threadpool_limits  # scikit-learn's; NumPy's and SciPy's threads are not torch's

    rows, differences = [], []
    for threads in args.threads:
        torch.set_num_threads(threads)
        with threadpool_limits(threads), tempfile.TemporaryDirectory() as folder:
            for part in ("features", "distance-full", "distance-few"):
                if part == "features":
                    arms, difference = feature_arms(Path(folder), args.images, args.batch_size)
                else:
                    arms, difference = distance_arms(part, args.dims)
                units = args.images if part == "features" else 1
                dims = 2048 if part == "features" else args.dims
                keys = {"part": part, "threads": threads, "device": "cpu", "dims": dims, "units": units}
                rows += common.take_turns(arms, args.rounds, **keys)
                differences.append(difference)
    table = common.summary(rows, [*KEYS, "device", "dims", "units"], "pytorch-fid", "units")
    table["units_per_s"] = 1e6 / table["us"]
    arms = len(table) // len(differences)
    table["difference"] = np.repeat(differences, arms)
    table.loc[table["arm"] != "ours", "difference"] = float("nan")

    common.show("FID: microseconds per image (features) or distance; difference: ours from pytorch-fid's", table)
    common.write(args.output, "fid", table, rows)
    common.chart(args.output / "fid.png", "FID, device cpu", table, KEYS, "pytorch-fid")


if __name__ == "__main__":
    errors.run(main)
