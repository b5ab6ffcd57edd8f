"""What a drawn object tells about itself."""

from dataclasses import dataclass, field


@dataclass
class Thing:
    noun: str  # "dog"
    phrase: str  # "a brown dog"
    short: str  # the phrase for crowded scenes
    #: (pixel of the oversampled layer, radius in the same pixels, what is there) where a melted patch would be seen
    anchors: list[tuple[complex, float, str]] = field(default_factory=list)
    #: defect kind -> the word for the part that it sits on ("hand", "legs"); default: the kind's usual part
    parts: dict[str, str] = field(default_factory=dict)
    color: str = ""  # its word in the phrase
    close_view: bool = False
