"""The one schema that every data set of heie_hf is turned into."""

from datasets import Features, Image, List, Value

#: One row per image. What a data set does not know is None.
#: `pair` is the id of a flawed image, in its own row and in that of its twin without the flaws.
#: `heatmap` and `misalignment_heatmap` are L images of the image's own size, 0..255 standing for [0, 1],
#: 0 = plausible.
#: `score` and the other scores are in [0, 1], higher is better (`score`: 1 = plausible).
#: `box` of a defect is x0, y0, x1, y1 in pixels of the image; its severity is in [0, 1]; `text` is the line of the
#: analysis that speaks of it; `mask` is an L image of the image's own size, 255 inside.
#: `facts` is what is true of the picture: its objects from left to right, row by row, the place, and of every defect
#: what it is on.
FEATURES = Features(
    {
        "id": Value("string"),
        "pair": Value("string"),
        "image": Image(),
        "heatmap": Image(),
        "misalignment_heatmap": Image(),
        "score": Value("float32"),
        "aesthetics_score": Value("float32"),
        "alignment_score": Value("float32"),
        "overall_score": Value("float32"),
        "prompt": Value("string"),
        "description": Value("string"),
        "regions": Value("string"),
        "analysis": Value("string"),
        "defects": List(
            {
                "kind": Value("string"),
                "part": Value("string"),
                "box": List(Value("float32"), length=4),
                "severity": Value("float32"),
                "text": Value("string"),
                "mask": Image(),
            }
        ),
        "facts": {
            "objects": List({"noun": Value("string"), "color": Value("string"), "close_view": Value("bool")}),
            "place": Value("string"),
            "issues": List(
                {
                    "kind": Value("string"),
                    "noun": Value("string"),
                    "part": Value("string"),
                    "where": Value("string"),
                }
            ),
        },
    }
)
