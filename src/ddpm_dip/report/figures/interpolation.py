"""Images between two latents: a row a sampler and pair, a block a path, a figure a model and display."""

from collections.abc import Iterator

from .. import labels
from ..plan import Wanted, file_name

ROLES = ()
STRIPS, MOST_POINTS = 4, 12  # pairs of latents shown, the first ones, and images of each


def wanted(study) -> Iterator[Wanted]:
    lowest = min((names["replicate"] for names in study.interpolations.values()), default=None)
    ways: dict[str, list[str]] = {}
    for path, names in study.interpolations.items():
        if names["replicate"] == lowest:
            ways.setdefault(names["model"], []).append(path)
    for model, paths in ways.items():
        for display in labels.DISPLAY_NAMES:
            yield Wanted(
                file=file_name("interpolation", model, display),
                kind="interpolation",
                options={"display": display},
                inputs={"interpolations": [f"interpolations/{path}.npz" for path in paths]},
                section="interpolation",
                title=model,
                caption=f"{model}, {display}: a row is one pair, from its first latent (left) to its second (right). "
                "Always the first pairs; none was selected.",
                alt=f"{model}: images between pairs of latents, {display} display",
            )


def draw(inputs: dict, options: dict):
    from ...jobs.errors import UserError
    from .. import canvas

    display, images, rows, blocks = options["display"], {}, {}, {}
    models = list(dict.fromkeys(archive["names"]["model"] for archive in inputs["interpolations"]))
    if len(models) > 1:
        raise UserError(f"interpolation: one model a figure; these files hold {', '.join(models)}")
    for archive in sorted(inputs["interpolations"], key=lambda archive: archive["names"]["path"]):
        names, strips = archive["names"], archive["images"][:STRIPS]
        strips = strips[:, points_shown(strips.shape[1])]
        blocks[names["path"]] = f"{names['path']} path"
        for pair, strip in enumerate(strips):
            way = labels.way(names["sampler"], names["noise"]).removesuffix(" noise")
            at = (names["sampler"], names["noise"], pair)
            rows[at] = f"{way}, pair {pair + 1}"
            images[at, names["path"]] = canvas.shown(strip, display)
    columns = max(map(len, images.values()))
    name = f"{models[0]}, {labels.AXES['epochs'].label(names['epochs'])}"
    title = f"{name}, between two latents: the first pairs, {labels.DISPLAY_LABELS[display]}"
    kinds = list(dict.fromkeys(at[:2] for at in rows))
    rows = {at: rows[at] for at in sorted(rows, key=lambda at: (kinds.index(at[:2]), at[2]))}
    return canvas.mosaic(images, rows, blocks, title, columns)


def points_shown(points: int):
    """Which of a strip's points are shown: evenly spaced, both ends among them."""
    import numpy as np

    return np.linspace(0, points - 1, min(points, MOST_POINTS)).round().astype(int)
