"""Nets saved by Hugging Face's diffusers: the folder of a pipeline, or of a bare UNet2DModel.

A pipeline is what `DDPMPipeline.save_pretrained` writes: `model_index.json`, the folder `unet`, and the folder
`scheduler`, whose configuration says what the net was trained on; older ones have all files in one folder. A bare
UNet2DModel does not say what it was trained on, so the configuration's `schedule` does.
"""

from pathlib import Path

from ...jobs.errors import UserError
from ...jobs.files import expanded
from . import PICKLES, SCHEDULE, Description, check_safetensors, checked_schedule, paths_of, read_json

KEYS = ("path", "schedule")
WEIGHTS = "diffusion_pytorch_model.safetensors"
SCHEDULER = "scheduler_config.json"
OF_LATENTS = ("vae", "vqvae", "movq", "vqgan")  # parts of a pipeline that decode what the net draws
OF_CONDITIONS = ("text_encoder", "tokenizer", "image_encoder", "transformer", "prior", "bert")


def describe(key: str, settings: dict) -> Description:
    """Raises UserError where a folder holds no unconditional UNet2DModel, or where the folders' nets differ."""
    paths, first = paths_of(settings), None
    for index, path in enumerate(paths):
        at = f"{key}.path" if len(paths) == 1 else f"{key}.path.{index}"
        found = describe_folder(key, at, settings, expanded(path))
        if first is not None and found != first:
            raise UserError(
                f"{at}: {path} is not like {paths[0]}: replicates have one architecture, image size and schedule"
            )
        first = found
    config, schedule = first
    size = config.get("sample_size")
    size = size[0] if isinstance(size, list) else size
    return Description(paths, schedule, size, config["in_channels"])


def files(settings: dict, path: str) -> list[Path]:
    folder = expanded(path)
    unet, scheduler = part_of(folder, "unet"), part_of(folder, "scheduler") / SCHEDULER
    return [unet / "config.json", unet / WEIGHTS, *([scheduler] if is_pipeline(folder) else [])]


def is_pipeline(folder: Path) -> bool:
    return (folder / "model_index.json").is_file()


def part_of(folder: Path, name: str) -> Path:
    """A pipeline's own folder of a part where it has one, as diffusers looks for it."""
    return folder / name if is_pipeline(folder) and (folder / name).is_dir() else folder


def describe_folder(key: str, at: str, settings: dict, folder: Path) -> tuple[dict, dict]:
    """The net's configuration and its schedule."""
    if not folder.is_dir():
        raise UserError(f"{at}: {folder} is not a folder; give one that diffusers wrote")
    unet = part_of(folder, "unet")
    if is_pipeline(folder):
        check_pipeline(at, folder)
    if not (unet / "config.json").is_file():
        raise UserError(
            f"{at}: {unet} holds no net (config.json); give a folder that save_pretrained of diffusers wrote"
        )
    written = read_json(at, unet / "config.json")
    config = {name: value for name, value in written.items() if name == "_class_name" or not name.startswith("_")}
    check_unet(at, unet, config)
    check_weights(at, unet)
    if not is_pipeline(folder):
        if "schedule" not in settings:
            raise UserError(
                f"{key}.schedule is missing: {folder} is a bare UNet2DModel, which does not say how it was trained; "
                "say schedule: { num_train_timesteps: 1000, beta_schedule: linear, prediction_type: epsilon }"
            )
        return config, checked_schedule(f"{key}.schedule", settings["schedule"])
    if "schedule" in settings:
        raise UserError(f"{key}.schedule: the pipeline {folder} says it itself; leave it out")
    return config, scheduler_of(at, folder)


def check_pipeline(at: str, folder: Path) -> None:
    index = read_json(at, folder / "model_index.json")
    name = index.get("_class_name", "a pipeline")
    parts = [part for part in index if not part.startswith("_")]
    if any(part in OF_LATENTS for part in parts):
        raise UserError(f"{at}: {folder}: {name} draws latents that an autoencoder decodes; latents are not supported")
    if any(part in OF_CONDITIONS for part in parts):
        raise UserError(f"{at}: {folder}: {name} draws on a condition; conditional nets are not supported")
    if "unet" not in parts or "scheduler" not in parts:
        raise UserError(
            f"{at}: {folder}: {name} has no unet with a scheduler; right are DDPMPipeline, DDIMPipeline and their kin"
        )


def check_unet(at: str, unet: Path, config: dict) -> None:
    name = config.get("_class_name", "UNet2DModel")
    if "Condition" in name:
        raise UserError(f"{at}: {unet}: {name} draws on a condition; conditional nets are not supported")
    if name != "UNet2DModel":
        raise UserError(f"{at}: {unet}: {name} is not supported; UNet2DModel is")
    if config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None:
        raise UserError(f"{at}: {unet} takes a class; conditional nets are not supported")
    channels, out = config.get("in_channels"), config.get("out_channels")
    if out == 2 * (channels or 0):
        raise UserError(
            f"{at}: {unet} predicts a variance, too (out_channels {out}); learned variance is not supported"
        )
    if channels != out or not isinstance(channels, int):
        raise UserError(f"{at}: {unet}: in_channels {channels} and out_channels {out} differ; they must be the same")
    if config.get("time_embedding_type", "positional") == "fourier":
        raise UserError(
            f"{at}: {unet} is a score net of continuous noise levels; only discrete timesteps are supported"
        )
    size = config.get("sample_size")
    if isinstance(size, list) and len(set(size)) > 1:
        raise UserError(f"{at}: {unet} draws images of {' x '.join(map(str, size))}; only square ones are supported")


def check_weights(at: str, unet: Path) -> None:
    if (unet / WEIGHTS).is_file():
        return check_safetensors(at, unet / WEIGHTS)
    for path in sorted(unet.glob("*")):
        if path.suffix in PICKLES:
            raise UserError(
                f"{at}: {path} may be a pickle file, which can run any code when it is read; save the net with "
                "safe_serialization=True"
            )
    raise UserError(f"{at}: {unet} holds no {WEIGHTS}; give a folder that save_pretrained of diffusers wrote")


def scheduler_of(at: str, folder: Path) -> dict:
    """The schedule of a pipeline, by its scheduler's configuration."""
    path = part_of(folder, "scheduler") / SCHEDULER
    config = read_json(at, path)
    name = config.get("_class_name", "the scheduler")
    if "beta_schedule" not in config:
        raise UserError(
            f"{at}: {path}: {name} has no betas; DDPM, DDIM and schedulers of the same training are supported"
        )
    if str(config.get("variance_type", "")).startswith("learned"):
        raise UserError(f"{at}: {path}: variance_type {config['variance_type']}; learned variance is not supported")
    if config.get("trained_betas") is not None:
        raise UserError(f"{at}: {path}: betas of its own (trained_betas) are not supported")
    if config.get("rescale_betas_zero_snr"):
        raise UserError(f"{at}: {path}: betas rescaled to a signal of zero (rescale_betas_zero_snr) are not supported")
    return checked_schedule(f"{at}: {path}", {name: config[name] for name in SCHEDULE if name in config})
