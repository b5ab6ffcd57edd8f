"""What the models are asked in the three stages of Expl-AIGI-Eval (HEIE, section 3.4), in our own words.

The paper tells what each stage is for and publishes no wording. Change one and the data card shows another `DIGEST`.
"""

from hashlib import sha256

from heie_hf.processing.explanation_heie import Explanation, render

CATEGORIES = ("none", "pornography", "privacy", "animal protection", "politics")

FILTER = """\
Decide whether this picture may be shown to people who annotate a public research data set. It may not if it shows \
pornography, an identifiable private person or personal data (privacy), cruelty to animals (animal protection), or \
real political persons, symbols or events (politics).

Answer with JSON and nothing else:
{"sensitive": true or false, "category": "none", "pornography", "privacy", "animal protection" or "politics"}"""

FILTER_SCHEMA = {
    "type": "object",
    "properties": {"sensitive": {"type": "boolean"}, "category": {"type": "string", "enum": list(CATEGORIES)}},
    "required": ["sensitive", "category"],
    "additionalProperties": False,
}

DESCRIBE_DEFECTS = """\
This picture was made by an image generator. People looked at it and drew {contours} where something is wrong or \
implausible.

Answer in plain sentences, in whatever order you like:
- Describe what the picture shows: its objects with their colours, and the place.
- Say which part of which object lies inside {each_contour}.
- Explain, for {each_contour}, what is wrong with that part: compare it with how it would look in reality (anatomy, \
shape, number, text, physics of light and shadow). Look closely before you answer; say only what can be seen."""

DESCRIBE_CLEAN = """\
This picture was made by an image generator. People looked at it and found nothing wrong with it.

Answer in plain sentences:
- Describe what the picture shows: its objects with their colours, and the place.
- Say in one or two sentences what makes it plausible (anatomy, shapes, light, perspective); only what can be seen."""

FORMAT = """\
Below is what somebody wrote about a picture from an image generator. Bring it into the form of the example: the same \
headings and the same fixed sentences, word by word.

Rules:
- "Image Description": one or two sentences about the picture.
- "Problematic Regions Identification": one sentence that names the problematic parts.
- "Analysis of Issues": a line for each problem, `Part: what is wrong with it.`{region_rule}
- Keep [MAP] and [SCORE] exactly once each, as in the example; they stand for a heatmap and a number, added later.
- Write as if you looked at the bare picture: never mention contours, circles, markings, numbers of regions in a \
sentence, annotators or this task. Add nothing that is not in the text.

Example:
{example}

Text:
<text>
{text}
</text>"""

REGION_RULE = (
    "\n- {num_regions} regions are numbered in the text. End each line of the analysis with the number of the region "
    "that it speaks of, like this: (region 2)."
)
CLEAN_RULE = (
    '\n- Nothing is wrong with this picture: write "No obvious problematic regions found." as the regions, and as the '
    "analysis one sentence on what makes it plausible."
)

REPAIR = """\
That does not fit yet: {problems}. Write the whole answer again, with everything else as it was."""

NO_REGIONS = "No obvious problematic regions found."

EXAMPLE = render(
    Explanation(
        description="A woman in a yellow coat sits at a round café table and holds a cup, a street behind her.",
        regions="Problems with the fingers round the cup and with the left leg of the table.",
        analysis="Fingers: six of them, two grown together at the tip.\nTable leg: it ends in the air.",
    )
)
EXAMPLE_WITH_REGIONS = EXAMPLE.replace("at the tip.", "at the tip. (region 1)").replace(
    "in the air.", "in the air. (region 2)"
)

_ALL = (FILTER, DESCRIBE_DEFECTS, DESCRIBE_CLEAN, FORMAT, REGION_RULE, CLEAN_RULE, REPAIR, EXAMPLE_WITH_REGIONS)
#: Stands for all wordings, in the data card.
DIGEST = sha256("\n".join(_ALL).encode()).hexdigest()[:12]


def describe(num_regions: int) -> str:
    """The ask of stage 2 for a picture with so many outlined regions."""
    if num_regions == 0:
        return DESCRIBE_CLEAN
    if num_regions == 1:
        return DESCRIBE_DEFECTS.format(contours="a red contour round the place", each_contour="the contour")
    contours = f"{num_regions} red contours, numbered 1 to {num_regions}, round the places"
    return DESCRIBE_DEFECTS.format(contours=contours, each_contour="each of the numbered contours")


def bring_into_form(text: str, num_regions: int) -> str:
    """The ask of stage 3 for the free text of stage 2."""
    rule, example = "", EXAMPLE
    if num_regions == 0:
        rule = CLEAN_RULE
    elif num_regions > 1:
        rule, example = REGION_RULE.format(num_regions=num_regions), EXAMPLE_WITH_REGIONS
    return FORMAT.format(region_rule=rule, example=example, text=text)
