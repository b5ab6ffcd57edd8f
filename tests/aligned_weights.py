"""Weights in aligned memory, for comparisons bit by bit."""


def aligned(model):
    """The model with its weights moved out of the memory-mapped file, where they lie at any address.

    Kernels for CPUs round by the alignment: equal weights give equal bits only from aligned memory.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model
