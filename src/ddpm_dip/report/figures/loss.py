"""The U-Nets' mean training loss by epoch; replicates are a band."""

from collections.abc import Iterator

from .. import labels, published
from ..plan import Wanted, file_name, uses

ROLES = ()


def wanted(study) -> Iterator[Wanted]:
    if uses(study, "unet"):
        yield Wanted(
            file=file_name("loss"),
            kind="loss",
            options={"published": published.net_is_trained(study.config)},
            inputs={"tables": {"training": "tables/training.csv"}},
            section="training",
            title="Training loss",
            caption="Mean noise-prediction error of each epoch. A dashed grey line, where there is one, is what the "
            "study printed for 60,000 MNIST images.",
            alt="Line chart: mean training loss by epoch and model",
        )


def draw(inputs: dict, options: dict):
    from .. import canvas

    table = inputs["tables"]["training"]
    fig, ((axis,),) = canvas.subplots(1, 1, 4.2)
    colours = labels.model_colours(table["model"])
    for model, rows in table.groupby("model"):
        style = {"color": colours[model], "marker": "o", "ms": 4, "lw": 1.8, "label": model}
        canvas.line_with_band(axis, rows, "epoch", "loss", **style)
    if options.get("published"):
        known = published.TRAINING_LOSS
        axis.plot(
            list(known),
            list(known.values()),
            color=canvas.GREY,
            ls="--",
            marker="s",
            mfc="white",
            ms=4,
            lw=1.2,
            zorder=1,
            label=f"hw4, published:\n{published.TRAINING_SOURCE}",
        )
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(canvas.plt.FormatStrFormatter("%.3g"))
    axis.yaxis.set_minor_formatter(canvas.plt.FormatStrFormatter("%.3g"))
    axis.tick_params(axis="y", which="minor", labelsize="small")
    axis.xaxis.set_major_locator(canvas.plt.MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axis.set(
        title="Mean training loss by epoch (noise prediction)",
        xlabel="epoch",
        ylabel="mean squared error (log scale)",
    )
    axis.legend(loc="upper right")
    return fig


def chart(inputs: dict, options: dict) -> Iterator[dict]:
    from .. import charts

    table = inputs["tables"]["training"]
    looks = {model: {"color": colour} for model, colour in labels.model_colours(table["model"]).items()}
    found = [
        {"series": model, "x": int(epoch), "mean": own.mean(), "low": own.min(), "high": own.max()}
        | {charts.DIVERGED: False, "replicates": len(own), "name": f"{model}, epoch {epoch}"}
        for (model, epoch), own in table.groupby(["model", "epoch"])["loss"]
    ]
    drawn = charts.lines(found, looks, "epoch", "mean squared error (log scale)", False, log_y=True)
    yield charts.document("Mean training loss by epoch", drawn)
