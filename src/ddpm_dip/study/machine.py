"""What a study's config means for the machines that its jobs run on: backends, never `auto`. Asked on the head node."""

from ..sampling import backend_choice
from .plan import Machine


def of_config(config: dict, *, own_environments: bool = False, elsewhere: bool = False) -> Machine:
    """Raises UserError where a backend cannot run.

    own_environments: each rule has one, with OpenVINO in it. elsewhere: jobs run on other machines than this one, which
    may have the GPU that this one has not.
    """
    if not elsewhere:
        return Machine(**backend_choice.of_config(config, own_environments=own_environments))
    asked = config["sampling"]["backend"]
    if asked == "auto" and config["device"] == "cuda":
        asked = "cuda"
    if asked.startswith("cuda"):
        dip = backend_choice.of_dip(asked, own_environments=own_environments)
        sampling = {"backend": asked, "dip": dip, "few": asked, "many": backend_choice.FEW}
    else:
        here = config | {"device": "cpu", "sampling": {"backend": asked}}
        sampling = backend_choice.of_config(here, own_environments=own_environments)
    training = backend_choice.resolve_training(config["training"]["backend"], config["device"])
    return Machine(**sampling | {"training": training})


def on_gpu(settings: dict) -> bool:
    """Whether a job of these settings runs on a GPU."""
    used = [settings.get("device"), settings.get("backend"), *settings.get("backends", ())]
    return any(name and name.startswith("cuda") for name in used)
