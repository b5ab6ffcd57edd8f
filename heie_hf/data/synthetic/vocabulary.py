"""Names of parts and defects, and how grave each defect is."""

#: Part label per pixel; index 0 is everything that belongs to no object.
PARTS = (
    "background",
    "light",
    "shadow",
    "head",
    "eye",
    "mouth",
    "hair",
    "hand",
    "torso",
    "arm",
    "leg",
    "animal body",
    "animal head",
    "animal leg",
    "tail",
    "chair seat",
    "chair back",
    "chair leg",
    "car body",
    "car window",
    "wheel",
    "clock face",
    "clock hand",
    "sign board",
    "letter",
    "post",
)

#: Kinds of defect; index 0 is none.
DEFECTS = (
    "none",
    "extra finger",
    "missing finger",
    "extra eye",
    "misaligned eyes",
    "garbled sign",
    "melted patch",
    "extra leg",
    "missing leg",
    "detached limb",
    "missing wheel",
    "extra clock hand",
    "wrong shadow",
    "missing eye",
    "extra wheel",
)

#: Kinds that only the unseen domain has (see `domains`).
UNSEEN_DEFECTS = ("missing eye", "extra wheel")

#: Severity of a defect that takes up hardly any room; a large one is graver by up to SIZE_WEIGHT (`labels.severity`).
BASE_SEVERITY = {
    "extra finger": 0.24,
    "missing finger": 0.20,
    "extra eye": 0.36,
    "misaligned eyes": 0.28,
    "garbled sign": 0.26,
    "melted patch": 0.30,
    "extra leg": 0.38,
    "missing leg": 0.40,
    "detached limb": 0.42,
    "missing wheel": 0.34,
    "extra clock hand": 0.22,
    "wrong shadow": 0.16,
    "missing eye": 0.34,
    "extra wheel": 0.34,
}
SIZE_WEIGHT = 0.3

#: Only one defect of a group on one object: two of them would blur each other's meaning.
GROUPS = (
    {"extra finger", "missing finger"},
    {"extra eye", "misaligned eyes", "missing eye"},
    {"extra leg", "missing leg", "detached limb"},
    {"missing wheel", "extra wheel"},
)

#: The word for the part that a defect sits on, unless the object names another.
USUAL_PART = {
    "extra finger": "hand",
    "missing finger": "hand",
    "extra eye": "face",
    "misaligned eyes": "eyes",
    "garbled sign": "text",
    "extra leg": "legs",
    "missing leg": "legs",
    "detached limb": "leg",
    "missing wheel": "wheel",
    "extra clock hand": "dial",
    "wrong shadow": "shadow",
    "missing eye": "face",
    "extra wheel": "wheel",
}
