"""Pictures of 3D models: a Wavefront OBJ file seen from several sides, as a cut-out with exact alpha.

The surface is sampled in the picture's plane, every triangle in proportion to the pixels it covers, and the nearest
sample of each pixel is kept. That needs no graphics hardware and leaves no seams; a second takes a model of 50,000
triangles.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SAMPLES_A_PIXEL = 4.0
_MAX_SAMPLES = 700_000
_GAP = 0.05
"""A pixel this much farther than its neighbours is a gap between the samples of what lies in front of it."""
_LIGHTS = np.array([[0.45, 0.65, 0.60], [-0.70, 0.30, 0.35]])
_LIGHT_STRENGTHS = (0.6, 0.3)
_AMBIENT = 0.5


@dataclass(frozen=True)
class Material:
    """Colour (3,) 0..1 and, where there is one, its texture as (h, w, 4) uint8."""

    colour: NDArray[np.float64]
    texture: NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class Model:
    """Triangles of an OBJ file.

    Attributes:
        corners: (T, 3, 3) float64, centred on the origin, the farthest corner at distance 1.
        texture_corners: (T, 3, 2) float64, (u, v).
        normals: (T, 3, 3) float64 of length 1, one a corner; the face's own where the file gives none.
        material_ids: (T,) index into `materials`.
        materials: of the triangles.
    """

    corners: NDArray[np.float64]
    texture_corners: NDArray[np.float64]
    normals: NDArray[np.float64]
    material_ids: NDArray[np.int64]
    materials: tuple[Material, ...]


def read_model(path: Path) -> Model:
    """Read an OBJ file with its materials; faces of more than three corners are split into fans."""
    vertices: list[list[float]] = []
    texture_vertices: list[list[float]] = [[0.0, 0.0]]
    normals: list[list[float]] = [[0.0, 0.0, 0.0]]
    faces: list[tuple[int, list[tuple[int, int, int]]]] = []
    materials: dict[str, Material] = {"": Material(np.full(3, 0.7), None)}
    current = 0
    for line in path.read_text(encoding="latin-1").replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "v":
            vertices.append([float(x) for x in rest.split()[:3]])
        elif word == "vt":
            texture_vertices.append([float(x) for x in [*rest.split(), "0"][:2]])
        elif word == "vn":
            normals.append([float(x) for x in rest.split()[:3]])
        elif word == "mtllib":
            materials |= _read_materials(path.parent / rest.strip())
        elif word == "usemtl":
            names = list(materials)
            current = names.index(rest.strip()) if rest.strip() in materials else 0
        elif word == "f":
            counts = (len(vertices), len(texture_vertices), len(normals))
            faces.append((current, [_corner(c, counts) for c in rest.split()]))
    triangles = [(m, c[0], c[i], c[i + 1]) for m, c in faces for i in range(1, len(c) - 1)]
    at = np.array([[corner[0] for corner in t[1:]] for t in triangles])
    uv = np.array([[corner[1] for corner in t[1:]] for t in triangles])
    corners = np.asarray(vertices)[at]
    used = corners.reshape(-1, 3)
    corners = corners - (used.min(axis=0) + used.max(axis=0)) / 2
    corners /= np.linalg.norm(corners, axis=-1).max()
    ids = np.array([t[0] for t in triangles])
    facing = np.asarray(normals)[np.array([[corner[2] for corner in t[1:]] for t in triangles])]
    own = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, None]
    facing = np.where((abs(facing).max(axis=-1, keepdims=True) > 0), facing, own)
    facing = facing / np.maximum(np.linalg.norm(facing, axis=-1, keepdims=True), 1e-12)
    return Model(corners, np.asarray(texture_vertices)[uv], facing, ids, tuple(materials.values()))


def _corner(text: str, counts: tuple[int, int, int]) -> tuple[int, int, int]:
    """Indices of a face's corner "v/vt/vn"; negative ones count from the end, 0 of `vt` and `vn` stands for none."""
    at, uv, normal = (int(part or 0) for part in (text + "//").split("/")[:3])
    return (
        at - 1 if at > 0 else counts[0] + at,
        uv if uv >= 0 else counts[1] + uv,
        normal if normal >= 0 else counts[2] + normal,
    )


def _read_materials(path: Path) -> dict[str, Material]:
    found: dict[str, Material] = {}
    name, colour, texture = "", np.full(3, 0.7), None
    if not path.is_file():
        return found
    for line in path.read_text(encoding="latin-1").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "newmtl":
            name, colour, texture = rest.strip(), np.full(3, 0.7), None
        elif word == "Kd":
            colour = np.array([float(x) for x in rest.split()[:3]])
        elif word == "map_Kd":
            file = path.parent / rest.strip().split()[-1].replace("\\", "/")
            if file.is_file():
                with Image.open(file) as image:
                    texture = np.asarray(image.convert("RGBA"))
        if name:
            found[name] = Material(colour, texture)
    return found


def render(model: Model, azimuth: float, elevation: float, side: int) -> Image.Image:
    """Draw a model.

    Args:
        model: what to draw.
        azimuth: degrees that the camera stands to the right of the model's front.
        elevation: degrees that it stands above.
        side: of the square picture, in pixels.

    Returns:
        RGBA, transparent where the model is not.
    """
    size = side * 2
    turned = model.corners @ _rotation(azimuth, elevation).T
    depth = 4.5 - turned[..., 2]
    flat = turned[..., :2] * (4.4 / depth)[..., None] * (size / 2) * 0.98
    edges = flat[:, 1:] - flat[:, :1]
    areas = abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]) / 2
    rng = np.random.default_rng(0)
    wanted = areas * min(_SAMPLES_A_PIXEL, _MAX_SAMPLES / max(areas.sum(), 1.0))
    counts = np.floor(wanted + rng.random(len(wanted))).astype(np.int64)
    of = np.repeat(np.arange(len(counts)), counts)
    first, second = _spread(counts, rng)
    over = first + second > 1
    first[over], second[over] = 1 - first[over], 1 - second[over]
    weights = np.stack([1 - first - second, first, second], axis=-1)
    where = np.einsum("nk,nkd->nd", weights, flat[of])
    far = np.einsum("nk,nk->n", weights, depth[of])
    rgba = _shaded(model, model.normals @ _rotation(azimuth, elevation).T, of, weights)
    column, row = (where[:, 0] + size / 2).astype(np.int64), (size / 2 - where[:, 1]).astype(np.int64)
    keep = (rgba[:, 3] > 0.4) & (column >= 0) & (column < size) & (row >= 0) & (row < size)
    order = np.argsort(-far[keep], kind="stable")
    pixel = (row * size + column)[keep][order]
    picture, nearest = np.zeros((size * size, 4)), np.full(size * size, np.inf)
    picture[pixel, :3], picture[pixel, 3], nearest[pixel] = rgba[keep][order, :3], 1.0, far[keep][order]
    return _reduced(_filled(picture.reshape(size, size, 4), nearest.reshape(size, size)))


def _spread(counts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, N) places 0..1 in each triangle's parallelogram: the additive recurrence R2, shifted at random."""
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    shift = np.repeat(rng.random((2, len(counts))), counts, axis=1)
    places: NDArray[np.float64] = (shift + number * np.array([[0.7548776662466927], [0.5698402909980532]])) % 1
    return places


def _rotation(azimuth: float, elevation: float) -> NDArray[np.float64]:
    a, e = math.radians(-azimuth), math.radians(elevation)
    about_y = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(e), -math.sin(e)], [0, math.sin(e), math.cos(e)]])
    rotation: NDArray[np.float64] = about_x @ about_y
    return rotation


def _shaded(
    model: Model, normals: NDArray[np.float64], of: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, 4) colour and opacity of samples, lit from the camera's side; both faces of a triangle are lit."""
    facing = np.einsum("nk,nkd->nd", weights, normals[of])
    facing *= np.where(facing[:, 2:] < 0, -1.0, 1.0)
    light = np.full(len(of), _AMBIENT)
    for direction, strength in zip(_LIGHTS, _LIGHT_STRENGTHS, strict=True):
        light += strength * np.clip(facing @ direction, 0, 1)
    uv = np.einsum("nk,nkd->nd", weights, model.texture_corners[of])
    rgba = np.ones((len(of), 4))
    for index, material in enumerate(model.materials):
        chosen = model.material_ids[of] == index
        rgba[chosen, :3] = np.clip(material.colour, 0.03, 1)
        if material.texture is not None:
            height, width = material.texture.shape[:2]
            x = (uv[chosen, 0] % 1 * width).astype(np.int64) % width
            y = ((1 - uv[chosen, 1] % 1) * height).astype(np.int64) % height
            rgba[chosen] = material.texture[y, x] / 255.0
    rgba[:, :3] = np.clip(rgba[:, :3] * light[:, None], 0, 1)
    return rgba


def _filled(picture: NDArray[np.float64], nearest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give pixels that no sample of the front met, but most of their neighbours did, the neighbours' mean."""
    height, width = nearest.shape
    shifts = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    depths = np.pad(nearest, 1, constant_values=np.inf)
    in_front = [depths[i : i + height, j : j + width] < nearest - _GAP for i, j in shifts]
    holes = sum(front.astype(int) for front in in_front) >= 6
    colours = np.pad(picture, ((1, 1), (1, 1), (0, 0)))
    around = np.zeros_like(picture)
    for (i, j), front in zip(shifts, in_front, strict=True):
        around += colours[i : i + height, j : j + width] * front[..., None]
    picture[holes] = around[holes] / around[holes, 3:]
    return picture


def _reduced(picture: NDArray[np.float64]) -> Image.Image:
    """Halve the size, colours weighted by alpha."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    weighted = np.concatenate([picture[..., :3] * picture[..., 3:], picture[..., 3:]], axis=-1)
    mean = weighted.reshape(height, 2, width, 2, 4).mean(axis=(1, 3))
    mean[..., :3] /= np.maximum(mean[..., 3:], 1e-6)
    return Image.fromarray((mean * 255 + 0.5).clip(0, 255).astype(np.uint8), "RGBA")
