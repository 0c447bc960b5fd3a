"""Fashion-MNIST: 60,000 and 10,000 pictures of clothes, 28x28 grey (Xiao, Rasul, Vollgraf 2017)."""

from . import Loaded, Options
from .idx import check as check
from .idx import load_idx
from .idx import sizes as sizes


def load(options: Options) -> Loaded:
    """The files that `options.split` names, train images first. Raises UserError as `load_idx` does."""
    return load_idx(options, "FashionMNIST")
