"""A melted patch: the surface runs down in waves, as in wax. Works on a finished layer."""

import numpy as np
from PIL import Image

from .canvas import Layer
from .vocabulary import DEFECTS


def melt(layer: Layer, center: complex, radius: float, rng: np.random.Generator) -> None:
    """Melt what is within `radius` of `center` (oversampled pixels), and mark all that it touched."""
    waves, phase = rng.uniform(4, 6), rng.uniform(0, 2 * np.pi, 3)
    if layer.flawless:
        return
    width, height = layer.color.size
    x0, x1 = max(0, int(center.real - radius)), min(width, int(center.real + radius) + 1)
    y0, y1 = max(0, int(center.imag - radius)), min(height, int(center.imag + radius * 1.5) + 1)
    ys, xs = np.mgrid[y0:y1, x0:x1]
    u, v = (xs - center.real) / radius, (ys - center.imag) / radius
    inside = np.clip(1 - u**2 - np.where(v > 0, v / 1.5, v) ** 2, 0, 1)
    soft = np.sqrt(inside)
    run = 0.5 + 0.5 * np.sin(waves * u * 2 + phase[0]) + 0.15 * np.sin(waves * 3.3 * u + phase[1])
    sway = 0.3 * np.sin(waves * v * 1.4 + phase[2])
    from_x = np.clip(np.rint(xs - radius * soft * sway), 0, width - 1).astype(int)
    from_y = np.clip(np.rint(ys - radius * soft * run), 0, height - 1).astype(int)
    color, label = np.asarray(layer.color), np.asarray(layer.label)
    moved, parts = color[from_y, from_x], label[from_y, from_x]
    touched = (inside > 0.04) & ((label[y0:y1, x0:x1, 0] > 0) | (parts[..., 0] > 0))
    parts[..., 1] = np.where(touched, DEFECTS.index("melted patch"), parts[..., 1])
    layer.color.paste(Image.fromarray(moved), (x0, y0))
    layer.label.paste(Image.fromarray(parts), (x0, y0))
