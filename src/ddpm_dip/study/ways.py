"""Ways between two latents: what the experiment `interpolation` draws, and what of it a claim asks for."""

from . import grid

AXES = ("model", "replicate", "epochs", "weights", "sampler", "clip_x0", "steps", "noise", "path")  # of a way


def drawn(config: dict) -> dict[str, dict]:
    """What is interpolated: path without suffix -> settings. A DCGAN's and DDIM's images need no noise."""
    part, found = config["experiments"].get("interpolation"), {}
    for model in part["models"] if part else ():
        family = grid.family_of(config, model)
        epochs = None if grid.is_given(config, model) else max(config["models"][model]["epochs"])
        ways = [(None, None, None)]
        if grid.has_chain(family):
            noises = {"ancestral": part["noise"], "ddim": [None]}
            steps = {"ancestral": part["steps"], "ddim": part["ddim_steps"]}
            ways = [(sampler, noise, steps[sampler]) for sampler in part["samplers"] for noise in noises[sampler]]
        for replicate in grid.replicates_of(config, model):
            for path in part["paths"]:
                for sampler, noise, count in ways:
                    name = "-".join(filter(None, (sampler, path, noise)))
                    chain = sampler is not None
                    budget = "" if epochs is None else f"epoch-{epochs:04d}/"
                    found[f"{model}/r{replicate}/{budget}{name}"] = {
                        "family": family,
                        "model": model,
                        "replicate": replicate,
                        "epochs": epochs,
                        "weights": config["training"]["weights"] if chain and epochs is not None else None,
                        "sampler": sampler,
                        "path": path,
                        "noise": noise,
                        "steps": count,
                        "clip_x0": config["sampling"]["clip_x0"] if chain else None,
                        "pairs": part["pairs"],
                        "points": part["points"],
                    }
    return found


def asked_for(drawn: dict[str, dict], replicate: int, asked: dict) -> list[str]:
    """The paths of what is drawn that is of a way asked for. What does not apply to a model is not asked."""
    return [
        path
        for path, names in drawn.items()
        if names["replicate"] == replicate
        and all(names[axis] is None or names[axis] in grid.as_list(value) for axis, value in asked.items())
    ]
