"""From a start through the chain to images.

`SAMPLERS[name](net, x, timesteps, schedule, noise, *, clip_x0=False, callback=...)` runs the chain of one sampler; the
package `samplers` says what these arguments are.
"""

from .samplers import SAMPLERS

__all__ = ["SAMPLERS"]
