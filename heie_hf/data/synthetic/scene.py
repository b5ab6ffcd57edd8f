"""One picture: a place, objects in it, what is wrong with them, and all that is known about it."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter

from . import backgrounds, labels, wording
from .animals import draw_animal
from .canvas import OVERSAMPLING, Layer, Pen
from .cars import draw_car
from .chairs import draw_chair
from .clocks import draw_clock
from .labels import Defect
from .layout import Slot, random_layout, random_size, sight
from .lighting import Light, cast_shadow, draw_lamp, finish, flatten, random_light, shade
from .melting import melt
from .palette import chance, pick
from .people import draw_person, draw_portrait
from .signs import draw_sign
from .thing import Thing
from .vocabulary import DEFECTS, GROUPS, PARTS


@dataclass(frozen=True)
class Family:
    """A kind of object: who draws it, its width for a height of 1, and from which visible height a defect can be told."""

    draw: object
    aspect: float
    kinds: dict[str, float]
    hangs: bool = False
    weight: float = 1.0


FAMILIES = (
    Family(draw_person, 0.9, {"extra leg": 80, "missing leg": 80, "detached limb": 100, "melted patch": 80, "extra eye": 190,
                               "misaligned eyes": 190, "wrong shadow": 80}, weight=1.5),
    Family(draw_portrait, 1.3, {"extra finger": 90, "missing finger": 90, "extra eye": 70, "misaligned eyes": 80,
                                "melted patch": 70}, weight=2.2),
    Family(draw_animal, 1.45, {"extra leg": 80, "missing leg": 80, "detached limb": 90, "extra eye": 110, "misaligned eyes": 120,
                               "melted patch": 80, "wrong shadow": 70}, weight=1.5),
    Family(draw_chair, 0.85, {"extra leg": 70, "missing leg": 70, "detached limb": 90, "melted patch": 80, "wrong shadow": 70}),
    Family(draw_car, 2.6, {"missing wheel": 40, "melted patch": 60, "wrong shadow": 50}, weight=1.2),
    Family(draw_clock, 1.05, {"extra clock hand": 50, "melted patch": 60}, hangs=True, weight=1.0),
    Family(draw_sign, 1.75, {"garbled sign": 50, "melted patch": 60}, weight=1.0),
)  # fmt: skip

#: The more objects a kind fits, the less often it is taken, so that kinds come about equally often.
KIND_WEIGHT = {kind: 1.0 for kind in DEFECTS[1:]} | {"melted patch": 0.4, "wrong shadow": 0.7, "missing wheel": 1.5,
               "extra clock hand": 1.5, "garbled sign": 1.5, "extra finger": 1.5, "missing finger": 1.5}  # fmt: skip
NUMBER_OF_DEFECTS = (0.25, 0.42, 0.22, 0.11)
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
}


@dataclass
class Scene:
    """A drawn picture with everything known about it."""

    image: Image.Image  # RGB
    heatmap: np.ndarray  # (H, W) float32 in [0, 1], 0 = plausible
    parts: np.ndarray  # (H, W) uint8, index into PARTS
    defect_map: np.ndarray  # (H, W) uint8, index into DEFECTS; the pixel-exact masks
    defects: list[Defect]
    score: float  # in [0, 1], 1 = no defect
    description: str
    regions: str
    analysis: str


@dataclass
class _Placed:
    family: Family
    slot: Slot
    plan: frozenset = frozenset()
    thing: Thing | None = None
    masks: dict[str, np.ndarray] = field(default_factory=dict)


def _height(family: Family, slot: Slot) -> float:
    """Height in pixels of an object that fills its slot."""
    return min(slot.height * 0.9, slot.width * 0.92 / family.aspect)


def _choose_families(rng: np.random.Generator, slots: list[Slot]) -> list[_Placed]:
    """For each slot a family that fills it well."""
    placed = []
    for slot in slots:
        fit = [f.weight * (_height(f, slot) ** 2 * f.aspect / (slot.width * slot.height)) ** 1.5 for f in FAMILIES]
        weights = np.array(fit) / sum(fit)
        placed.append(_Placed(FAMILIES[int(rng.choice(len(FAMILIES), p=weights))], slot))
    return placed


def _allowed(kind: str, plan: frozenset) -> bool:
    if kind in plan or "melted patch" in plan or (kind == "melted patch" and plan - {"wrong shadow"}):
        return False
    return not any(kind in group and plan & group for group in GROUPS)


def _plan(rng: np.random.Generator, placed: list[_Placed], seen: float, light: Light, rows: int) -> None:
    """Decide which objects get which defects."""
    number = int(rng.choice(4, p=NUMBER_OF_DEFECTS))
    for _ in range(number):
        options = [
            (item, kind)
            for item in placed
            for kind, least in item.family.kinds.items()
            if _height(item.family, item.slot) * seen >= least and _allowed(kind, item.plan)
            if kind != "wrong shadow" or (light.sharp and rows == 1)
        ]
        if not options:
            return
        weights = np.array([KIND_WEIGHT[kind] for _, kind in options])
        item, kind = options[int(rng.choice(len(options), p=weights / weights.sum()))]
        item.plan = item.plan | {kind}


def _draw_object(item: _Placed, rng: np.random.Generator, outline: float) -> Layer:
    slot, height = item.slot, _height(item.family, item.slot)
    layer = Layer(slot.width, slot.height, outline)
    lift = slot.height - height * 0.04 if not item.family.hangs else slot.height / 2 + height / 2
    room = (slot.width - height * item.family.aspect) / 2
    center = slot.width / 2 + rng.uniform(-0.6, 0.6) * max(0.0, room)
    slot.foot = slot.y + lift
    pen = Pen(layer, OVERSAMPLING * complex(center, lift), complex(OVERSAMPLING * height), flip=chance(rng, 0.5))
    item.thing = item.family.draw(pen, rng, item.plan)
    if "melted patch" in item.plan:
        spot, radius, what = pick(rng, item.thing.anchors)
        melt(layer, spot, radius, rng)
        item.thing.parts["melted patch"] = what
    return layer


def _where(box: tuple, size: tuple[int, int]) -> str:
    x, y = (box[0] + box[2]) / 2 / size[0] - 0.5, (box[1] + box[3]) / 2 / size[1] - 0.5
    if max(abs(x), abs(y)) < 0.15:
        return "in the center"
    if abs(x) >= abs(y):
        return "on the left" if x < 0 else "on the right"
    return "at the top" if y < 0 else "at the bottom"


def _paint_shadow(picture: Image.Image, parts: np.ndarray, shadow: Image.Image, strength: float) -> None:
    picture.paste((20, 20, 35), (0, 0), shadow.point([round(v * strength) for v in range(256)]))
    parts[np.asarray(shadow) > 127] = PARTS.index("shadow")


def _compose(rng, picture, placed, light, parts) -> tuple[Image.Image, np.ndarray]:
    """Shadows first, then objects; fills every object's masks."""
    size = picture.size
    outline = pick(rng, (0.0, 0.0, 0.8, 1.2)) * max(1.0, max(size) / 300)
    drawn = [flatten(_draw_object(item, rng, outline)) for item in placed]
    defects = np.zeros(size[::-1], np.uint8)
    for item, (color, _) in zip(placed, drawn):
        if item.family.hangs or item.family.draw in (draw_portrait,):
            continue
        alpha, at = color.getchannel("A"), (item.slot.x, item.slot.y)
        if light.sharp:
            wrong = "wrong shadow" in item.plan
            shadow = cast_shadow(alpha, at, item.slot.foot, light, size, -light.side if wrong else light.side)
            if wrong:
                item.masks["wrong shadow"] = np.asarray(shadow) > 127
                defects[item.masks["wrong shadow"]] = DEFECTS.index("wrong shadow")
            _paint_shadow(picture, parts, shadow.filter(ImageFilter.BoxBlur(max(size) / 250)), light.strength)
        else:
            shadow = alpha.resize((alpha.width, max(1, alpha.height // 14)))
            full = Image.new("L", size)
            full.paste(shadow, (at[0], round(item.slot.foot - shadow.height * 0.6)))
            _paint_shadow(picture, parts, full.filter(ImageFilter.BoxBlur(max(size) / 80)), light.strength * 0.7)
    for item, (color, label) in zip(placed, drawn):
        box = (item.slot.x, item.slot.y)
        picture.paste(shade(color, light), box, color)
        window = np.s_[box[1] : box[1] + color.height, box[0] : box[0] + color.width]
        covered = label[..., 0] > 0
        parts[window][covered] = label[..., 0][covered]
        marked = covered | (label[..., 1] > 0)
        defects[window][marked] = label[..., 1][marked]
        for kind in item.plan - {"wrong shadow"}:
            mask = np.zeros(size[::-1], bool)
            mask[window] = label[..., 1] == DEFECTS.index(kind)
            item.masks[kind] = mask
    return picture, defects


def _attempt(rng: np.random.Generator) -> Scene | None:
    size = random_size(rng)
    slots, rows = random_layout(rng, size)
    light = random_light(rng)
    placed = _choose_families(rng, slots)
    seen = sight(size)
    _plan(rng, placed, seen, light, rows)
    small = max(1.0, max(size) / 240)
    horizon = min(slot.y + slot.height for slot in slots) / size[1] * rng.uniform(0.6, 0.88)
    stage = (max(8, round(size[0] / small)), max(8, round(size[1] / small)))
    make = pick(rng, (backgrounds.outdoors, backgrounds.indoors))
    stage_image, place = make(rng, stage, horizon * stage[1])
    picture = stage_image.resize(size, Image.BICUBIC)
    parts = np.zeros(size[::-1], np.uint8)
    if light.sharp:
        x0, y0, x1, y1 = (max(0, round(v)) for v in draw_lamp(picture, light, place.indoor, rng))
        parts[y0:y1, x0:x1] = PARTS.index("light")
    picture, defect_map = _compose(rng, picture, placed, light, parts)
    found = [(item, kind) for item in placed for kind in DEFECTS[1:] if kind in item.plan]
    masks = [item.masks[kind] & (defect_map == DEFECTS.index(kind)) for item, kind in found]
    if any(mask.sum() * seen * seen < 30 for mask in masks):
        return None  # nobody could see it
    defects = []
    for (item, kind), mask in zip(found, masks):
        box = labels.bounding_box(mask)
        part = item.thing.parts.get(kind) or USUAL_PART[kind]
        defects.append(Defect(kind, part, item.thing.noun, _where(box, size), box, labels.severity(kind, mask)))
    severities = [d.severity for d in defects]
    phrases = [item.thing.phrase if len(placed) < 3 else item.thing.short for item in placed]
    return Scene(
        image=finish(picture, rng),
        heatmap=labels.heatmap(masks, severities) if masks else np.zeros(size[::-1], np.float32),
        parts=parts,
        defect_map=defect_map,
        defects=defects,
        score=labels.plausibility(severities),
        description=wording.describe(rng, phrases, place.phrase),
        regions=wording.regions(rng, defects),
        analysis=wording.analysis(rng, defects),
    )


def draw_scene(seed: int, index: int) -> Scene:
    """Scene `index` of the endless series `seed`; always the same, whatever was drawn before.

    A scene whose defect turns out hidden is drawn anew from the same stream of random numbers.
    """
    rng = np.random.default_rng([seed, index])
    while True:
        scene = _attempt(rng)
        if scene is not None:
            return scene
