"""One picture: a place, objects in it, what is wrong with them, and all that is known about it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from . import labels, wording
from .backgrounds import Place, indoors, outdoors
from .composition import Canvas, draw_object, put_object, throw_shadow
from .domains import STANDARD, UNSEEN, Domain
from .facts import record_facts
from .families import Placed, place_families, plan_defects
from .labels import Defect
from .layout import Slot, random_layout, random_size, sight
from .lighting import Light, draw_lamp, finish, random_light
from .palette import chance, pick
from .vocabulary import DEFECTS, PARTS, USUAL_PART

#: Seen pixels that a defect must cover, see `layout.sight`; less of it (hidden, out of the picture) is no fair label.
LEAST_AREA = 30
#: Backgrounds are painted at most this large (pixels of the long side), then enlarged.
STAGE = 240


@dataclass
class Scene:
    """A drawn picture with everything known about it."""

    image: Image.Image  # RGB
    heatmap: np.ndarray  # (H, W) float32 in [0, 1], 0 = plausible
    parts: np.ndarray  # (H, W) uint8, index into PARTS
    defect_map: np.ndarray  # (H, W) uint8, index into DEFECTS: the pixel-exact masks
    defects: list[Defect]
    score: float  # in [0, 1], 1 = no defect
    light_side: int  # sharp light comes from the left, -1, or from the right, +1; 0: diffuse light
    description: str
    regions: str
    analysis: str
    facts: dict  # what is true of it, see `facts.record_facts`


def _set_stage(rng, domain: Domain, size: tuple[int, int], slots: list[Slot], light: Light) -> tuple[Canvas, Place]:
    """The place without objects, as large as the picture. The horizon stays above the feet of the first row."""
    shrink = max(1.0, max(size) / STAGE)
    stage = tuple(max(8, round(side / shrink)) for side in size)
    horizon = min(slot.y + slot.height for slot in slots) / size[1] * rng.uniform(0.6, 0.88)
    paint, sceneries = pick(rng, ((outdoors, domain.outdoors), (indoors, domain.indoors)))
    image, place = paint(rng, stage, horizon * stage[1], pick(rng, sceneries))
    lamp = draw_lamp(image, light, place.indoor, rng) if light.sharp else [0.0] * 4
    image = image.filter(ImageFilter.BoxBlur(0.5)).resize(size, Image.BILINEAR)
    parts = np.zeros(size[::-1], np.uint8)
    x0, y0, x1, y1 = (max(0, round(edge * shrink)) for edge in lamp)
    parts[y0:y1, x0:x1] = PARTS.index("light")
    return Canvas(image, parts, np.zeros_like(parts)), place


def _where(box: tuple, size: tuple[int, int]) -> str:
    x, y = (box[0] + box[2]) / 2 / size[0] - 0.5, (box[1] + box[3]) / 2 / size[1] - 0.5
    if max(abs(x), abs(y)) < 0.15:
        return "in the center"
    if abs(x) >= abs(y):
        return "on the left" if x < 0 else "on the right"
    return "at the top" if y < 0 else "at the bottom"


def _find_defects(placed: list[Placed], canvas: Canvas, seen: float) -> tuple[list[Defect], list[np.ndarray]] | None:
    """The defects as they can be seen, with their masks; None where one of them cannot."""
    defects, masks = [], []
    for item in placed:
        for kind in (kind for kind in DEFECTS if kind in item.plan):
            mask = item.masks[kind] & (canvas.defects == DEFECTS.index(kind))
            if mask.sum() * seen**2 < LEAST_AREA:
                return None
            part = item.thing.parts.get(kind) or USUAL_PART[kind]
            box = labels.bounding_box(mask)
            where = _where(box, canvas.image.size)
            defects.append(Defect(kind, part, item.thing.noun, where, box, labels.severity(kind, mask)))
            masks.append(mask)
    return defects, masks


def _attempt(rng: np.random.Generator, domain: Domain, flawless: bool = False) -> Scene | None:
    """A scene, None where a defect cannot be seen. A flawless one has no defects, and is else what it would be."""
    size = random_size(rng, *domain.sides)
    slots, rows = random_layout(rng, size)
    light, seen = random_light(rng), sight(size)
    placed = place_families(rng, slots)
    # The one kind that nearly every object can have besides another: without the chance it would be a fifth of all.
    shadows_tell = light.sharp and rows == 1 and chance(rng, 0.5)
    if not plan_defects(rng, placed, seen, domain.kinds if shadows_tell else domain.kinds - {"wrong shadow"}):
        return None
    canvas, place = _set_stage(rng, domain, size, slots, light)
    outline = pick(rng, (0.0, 0.0, 0.8, 1.2)) * max(1.0, max(size) / 300)
    sheets = [draw_object(item, rng, size, outline, place.indoor, flawless) for item in placed]
    for sheet in sheets:
        if sheet.item.family.pose == "stands":
            throw_shadow(canvas, sheet, light)
    for sheet in sheets:
        put_object(canvas, sheet, light)
    found = _find_defects(placed, canvas, seen)
    if found is None:
        return None
    defects, masks = found
    severities = [defect.severity for defect in defects]
    things = [item.thing for item in placed]
    phrases = [thing.phrase if len(things) < 3 else thing.short for thing in things]
    return Scene(
        image=finish(domain.develop(canvas.image, rng), rng),
        heatmap=labels.heatmap(size, masks, severities),
        parts=canvas.parts,
        defect_map=canvas.defects,
        defects=defects,
        score=labels.plausibility(severities),
        light_side=light.side if light.sharp else 0,
        description=wording.describe(rng, phrases, place.phrase),
        regions=wording.regions(rng, defects),
        analysis=wording.analysis(rng, defects),
        facts=record_facts(things, phrases, place.phrase, defects),
    )


def draw_scene(seed: int, index: int, unseen: bool = False) -> Scene:
    """Scene `index` of the endless series `seed`; always the same, whatever was drawn before.

    `unseen` draws from the other domain, meant for tests only: places, styles, sizes (500 to 1000 pixels a side) and
    two kinds of defect that the standard domain does not have. A scene with a defect that cannot be seen is drawn anew
    from the same stream of random numbers.
    """
    scene, _ = _draw(np.random.default_rng([seed, index]), UNSEEN if unseen else STANDARD)
    return scene


def draw_pair(seed: int, index: int, unseen: bool = False) -> tuple[Scene, Scene | None]:
    """Scene `index` of a seed, and the same without its defects: None where it has none.

    Both are painted with the same random numbers, so that they are equal but for the defects and their shadows.
    """
    domain = UNSEEN if unseen else STANDARD
    rng = np.random.default_rng([seed, index])
    scene, start = _draw(rng, domain)
    if not scene.defects:
        return scene, None
    rng.bit_generator.state = start
    return scene, _attempt(rng, domain, flawless=True)


def _draw(rng: np.random.Generator, domain: Domain) -> tuple[Scene, dict]:
    """The first attempt that succeeds, and the random generator's state before it."""
    scene = None
    while scene is None:
        start = rng.bit_generator.state
        scene = _attempt(rng, domain)
    return scene, start
