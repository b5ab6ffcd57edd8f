"""The chain of thought as text: the five steps of Expl-AIGI-Eval (github.com/yfthu/HEIE), rendered and parsed.

Stored form, which data sets keep and users read: three free sections between fixed texts, one `[MAP]` for all maps and
one `[SCORE]`. Token form: the same, with `[MAP][MAP_1] .. [MAP_N]` (one per patch, row by row) in place of `[MAP]`.
"""

import re
from dataclasses import dataclass

MAP_TOKEN = "[MAP]"
SCORE_TOKEN = "[SCORE]"

OPENING = "Sure. \n### Image Description\n"
REGIONS_HEADER = "\n\n### Problematic Regions Identification\n"
MAP_LEAD = "\nSo, the potential problematic regions in the image are "
ANALYSIS_HEADER = "\n\n### Analysis of Issues\n"
SCORE_LEAD = "\nBased on the overall analysis, the plausibility score for this image is "
CLOSING = "."

# The fixed texts in their order; `template_ids` of the config holds their token ids.
TEMPLATE = (OPENING, REGIONS_HEADER, MAP_LEAD, ANALYSIS_HEADER, SCORE_LEAD, CLOSING)

#: The free sections, in the order of the text.
SECTIONS = ("description", "regions", "analysis")

# What may stand between two sections. Of the 1,950 published texts 194 end their headers in ":", some have blanks or
# blank lines after them, and one runs the map lead into the sentence before it.
_BORDERS = re.compile(
    r"#+[^\S\n]*(?:"
    r"(?P<description>Image Description)"
    r"|(?P<regions>Problematic Regions Identification)"
    r"|(?P<analysis>Analysis of Issues)"
    r")[^\S\n]*:?"
    r"|(?P<maps>So, the potential problematic regions in the image are(?:\s*\[MAP(?:_\d+)?\])*)"
    r"|(?P<score>Based on the overall analysis, the plausibility score for this image is(?:\s*\[SCORE\])?)"
)
_MAP_RUN = re.compile(r"\[MAP\](?:\s*\[MAP_\d+\])+")


@dataclass(frozen=True)
class Explanation:
    """The three free sections; always tidy: no blank lines, no blanks at the end of a line or around a section.

    A section that is unknown or missing (None) is "". An explanation without any section is false.
    """

    description: str = ""
    regions: str = ""
    analysis: str = ""

    def __post_init__(self):
        for name in SECTIONS:
            section = getattr(self, name) or ""
            object.__setattr__(self, name, _tidy(section))

    def __bool__(self) -> bool:
        return bool(self.description or self.regions or self.analysis)


def _tidy(section: str) -> str:
    lines = [line.rstrip() for line in section.splitlines()]
    return "\n".join(filter(None, lines)).strip()


def local_map_token(patch: int) -> str:
    """`[MAP_1]`, `[MAP_2]` ..: the map token of a patch, counted from 1, row by row."""
    return f"[MAP_{patch}]"


def special_tokens(max_patches: int) -> dict[str, str]:
    """Attribute name to token, as `AutoTokenizer.from_pretrained(..., extra_special_tokens=...)` takes them."""
    tokens = {"map_token": MAP_TOKEN}
    for patch in range(1, max_patches + 1):
        tokens[f"map_{patch}_token"] = local_map_token(patch)
    tokens["score_token"] = SCORE_TOKEN
    return tokens


def literals(num_local: int) -> tuple[str, str, str, str]:
    """The fixed text before the description, the regions and the analysis, and after the analysis.

    Args:
        num_local: local map tokens that follow `[MAP]`; 0 gives the stored form.
    """
    maps = MAP_TOKEN
    for patch in range(1, num_local + 1):
        maps += local_map_token(patch)
    return OPENING, REGIONS_HEADER, MAP_LEAD + maps + ANALYSIS_HEADER, SCORE_LEAD + SCORE_TOKEN + CLOSING


def render(explanation: Explanation) -> str:
    """The stored form of an explanation."""
    opening, regions, analysis, closing = literals(0)
    return f"{opening}{explanation.description}{regions}{explanation.regions}{analysis}{explanation.analysis}{closing}"


def parse(text: str) -> Explanation:
    """The sections of a stored or generated text. Missing ones are "", of repeated ones the first counts.

    `render(parse(text))` is `text` with canonical headers and tidy sections.
    """
    borders = list(_BORDERS.finditer(text))
    ends = [border.start() for border in borders[1:]]
    ends.append(len(text))
    parts = {}
    for border, end in zip(borders, ends):
        section = text[border.end() : end]
        parts.setdefault(border.lastgroup, section)
    return Explanation(parts.get("description"), parts.get("regions"), parts.get("analysis"))


def collapse_map_tokens(text: str) -> str:
    """The stored form of a generated text: one `[MAP]` for each run `[MAP][MAP_1] .. [MAP_N]`."""
    return _MAP_RUN.sub(MAP_TOKEN, text)
