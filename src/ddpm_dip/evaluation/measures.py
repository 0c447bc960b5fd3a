"""What a claim may be about: each measure's name, and whether lower is better; and of how many images. No torch."""

from .metrics import METRICS, OF_ROTATIONS

LEAST_N = 128  # images, for a verdict: below it the jackknife breaks, with 64 features
OF_NOISE = {"noise_path": True}  # the mean over the chain's states of the noise left in them, of noise.csv
OF_TIMING = {"seconds": True}  # an image, the start included, of timing.csv
OF_INTERPOLATION = {"path_ratio": True, "largest_share": True}  # of the images between two latents
MEASURES: dict[str, bool] = {
    name: metric.lower_is_better for name, metric in METRICS.items() if metric.lower_is_better is not None
}
MEASURES |= OF_NOISE | OF_TIMING | OF_INTERPOLATION
OF_LABELS = {name for name, metric in METRICS.items() if (metric.feature_net or "").startswith("classifier")}
OF_NO_LABELS = set(OF_ROTATIONS.values())
BIASED = ("fid_inception",)  # by the number of images, and by what they are: no verdict rests on these
# a distance -> what has to point the same way, by the names in the columns agrees_*
CONFIRMED_BY = {
    "fd_classifier": {"energy": "energy_classifier", "classifier_2": "fd_classifier_2"},
    "fd_classifier_2": {"energy": "energy_classifier", "classifier_2": "fd_classifier"},
    "energy_classifier": {"classifier_2": "fd_classifier_2"},
    "fd_rotation": {"energy": "energy_rotation", "classifier_2": "fd_rotation_2"},
    "fd_rotation_2": {"energy": "energy_rotation", "classifier_2": "fd_rotation"},
    "energy_rotation": {"classifier_2": "fd_rotation_2"},
}
