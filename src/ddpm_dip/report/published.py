"""Figures that study A printed, kept once. They are shown beside ours, always under their source's name."""

TIMING_SOURCE = "study A, Colab T4"
TIMING_STEPS = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
# Seconds per image at batch 1, by method.
TIMING_SECONDS = {
    "ddpm": (0.644, 1.246, 1.846, 2.487, 3.152, 4.570, 4.311, 5.400, 6.053, 6.450),
    "dip+ddpm": (0.743, 1.252, 2.743, 2.639, 3.106, 3.680, 5.233, 4.948, 6.431, 6.148),
}

TRAINING_SOURCE = "study A, laptop RTX 4060, 60,000 MNIST images"
# Mean training loss of hw4, by epoch.
TRAINING_LOSS = {
    1: 0.152,
    2: 0.048,
    3: 0.041,
    4: 0.038,
    5: 0.036,
    6: 0.035,
    7: 0.034,
    8: 0.034,
    9: 0.033,
    10: 0.032,
    20: 0.030,
}

# Last line of the DIP fit: 200 iterations on one noisy digit; PSNR in dB.
DIP_FIT = {"loss": 0.005128, "psnr_noisy": 22.90, "psnr_clean": 24.40}


def net_is_trained(config: dict) -> bool:
    """Whether the study trains the published net on the published data, so that the printed losses compare."""
    networks = [model.get("network") for model in config["models"].values()]
    return config["data"]["dataset"] == "mnist" and "hw4" in networks
