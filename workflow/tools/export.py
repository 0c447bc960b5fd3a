"""Write a trained net as a folder that plain PyTorch loads: its code, and the weights of each replicate."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import asked

from ddpm_dip.jobs import errors, files, job
from ddpm_dip.study import given, plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="a name of the configuration's models")
    parser.add_argument("files", nargs="*", type=Path, metavar="CONFIGFILE", help="laid over config.yaml, in order")
    arguments = parser.parse_args()
    print(export(*asked.of_files(arguments.files), arguments.model))


def export(study, folder: Path, found: dict, name: str) -> str:
    """Write the files; returns how to draw from them here. found: the study's ledger.

    Raises UserError where there is no such net, or not yet by these settings.
    """
    if study.families.get(name) != "unet":
        known = [model for model, family in study.families.items() if family == "unet"]
        raise errors.UserError(
            f"{name!r} is no U-Net that the study {study.name} trains; {errors.nearest(name, known)}"
        )
    model, kind, target = study.config["models"][name], study.config["training"]["weights"], folder / "export" / name
    epochs, written = max(model["epochs"]), []
    for replicate in study.config["seeds"]["replicates"]:
        snapshot = plan.snapshot_of(name, replicate, epochs)
        if (entry := found.get(("train", snapshot.removeprefix("models/")))) and entry.made:
            source = folder / snapshot / "weights.safetensors"
            written.append((replicate, *of_replicate(source, kind, target / f"r{replicate}.safetensors")))
    if not written:
        raise errors.UserError(
            f"{folder}: {name} is not trained for {epochs} epochs by these settings yet; make run trains it"
        )

    from ddpm_dip.models import export as exported  # with torch

    shape = tuple(map(int, written[0][2]["image_shape"].split("x")))
    title = f"{name} of the study {study.name}: the network {model['network']} after {epochs} epochs, {kind} weights."
    files.write_text(target / "net.py", exported.source(model["network"], shape, model.get("width"), title))
    files.write_json(target / "schedule.json", given.SCHEDULE)
    own = {"family": "torch", "module": f"{target}/net.py:build", "path": [str(path) for _, path, _ in written]}
    again = json.dumps({"models": {f"{name}-exported": own | {"schedule": given.SCHEDULE}}})
    return f"{target}: net.py, schedule.json and {len(written)} nets\nto draw from them here: {again}"


def of_replicate(source: Path, kind: str, target: Path) -> tuple[Path, dict[str, str]]:
    """Write the weights of one kind alone; returns where, and what the whole file says of itself."""
    job.verified(source)
    tensors, header = files.read_safetensors(source)
    own = {name.removeprefix(f"{kind}."): each for name, each in tensors.items() if name.startswith(f"{kind}.")}
    files.write_safetensors(target, own, {"weights": kind} | header)
    return target, header


if __name__ == "__main__":
    errors.run(main)
