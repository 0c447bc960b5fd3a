"""What is timed of a study: each net's starts and steps, from which the time of a cell follows."""

from . import Cell, Study, plugins
from .grid import DIP, has_chain, is_given

EVALUATIONS = 20  # of the chain whose steps are timed


def net_of(study: Study, model: str) -> tuple[str, int | None]:
    """A model's network and width: what the time of its steps depends on. One that is given is a net of its own."""
    settings = study.config["models"][model]
    if is_given(study.config, model):
        return f"models.{model}", None
    network = settings["network"]
    return network, settings.get("width", plugins.constant("network", network, "WIDTH"))


def timed(study: Study) -> dict[str, list[Cell]]:
    """The models to time, each net once -> the cells with a chain of all models with that net.

    A model whose net no cell has is not timed: there is nothing to say it of.
    """
    asked = study.config["timing"]
    if asked is None:
        return {}
    found: dict[tuple, tuple[str, list[Cell]]] = {}
    for model in asked["models"] or [model for model, family in study.families.items() if has_chain(family)]:
        net = net_of(study, model)
        cells = [cell for cell in study.cells if cell.start is not None and net_of(study, cell.model) == net]
        if cells:
            found.setdefault(net, (model, cells))
    return dict(found.values())


def measured(study: Study) -> dict[str, dict[str, list[Cell]]]:
    """What is timed, by model: its cells' starts, a step of each of their samplers, and whole chains.

    All are of one training, kind of weights and K, as times do not depend on these: so another K in a grid times
    nothing anew. A start that shows the net something else than x_t has steps of its own. The passes of the DIP net's
    drawing alone are among the first model's starts.
    """
    found, alone = {}, {("dip", cell.passes) for cell in study.cells if cell.model == DIP}
    for model, cells in timed(study).items():
        one = min(
            cells, key=lambda cell: (cell.model != model, -(cell.epochs or 0), cell.replicate, cell.weights or "")
        )
        most = study.timesteps[model]
        one = one._replace(start="noise", passes=None, steps=most, nfe=min(EVALUATIONS, most))
        starts, steps = {(cell.start, cell.passes) for cell in cells} | alone, set()
        for cell in cells:
            step = one._replace(sampler=cell.sampler, clip_x0=cell.clip_x0)
            sees = plugins.defines("start", cell.start, "see")
            steps.add(step._replace(start=cell.start, passes=cell.passes) if sees else step)
        plain = min(steps, key=lambda cell: (cell.start != "noise", cell.sort_key()))
        plain = plain._replace(start="noise", passes=None)
        parts = {
            "starts": {plain._replace(start=start, passes=passes, nfe=1) for start, passes in starts},
            "steps": steps,
            "chains": {
                plain._replace(steps=count, nfe=count) for count in study.config["timing"]["steps"] if count <= most
            },
        }
        found[model] = {name: sorted(part, key=Cell.sort_key) for name, part in parts.items()}
        alone = set()
    return found


def same_nets(study: Study) -> dict[str, list[str]]:
    """The models that are timed -> those with cells and the same net, whose times are the same."""
    return {model: sorted({model, *(cell.model for cell in cells)}) for model, cells in timed(study).items()}
