"""Small convolutional nets on a CPU, forward and backward, with images side by side in the lanes of its vectors.

Read in this order: `vectors` (a language for machine code), `kernels` (what a layer does), `tape` (a net's description,
and the calls of kernels that it takes), `engine` (memory, threads, batches). docs/lanes.md has the ideas in a figure.
"""
