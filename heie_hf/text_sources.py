"""Where the text in the chain of thought comes from: one list for training, evaluation and the command line."""

from enum import StrEnum


class TextSource(StrEnum):
    """What a model is shown as its own text."""

    GENERATED = "generated"  # what the model itself writes
    NONE = "none"  # the template with its sections empty
    REFERENCE = "reference"  # the text of the data set
    SWAPPED = "swapped"  # the regions and analysis of another image (training only)


EVALUATION_SOURCES = (TextSource.GENERATED, TextSource.NONE, TextSource.REFERENCE)
