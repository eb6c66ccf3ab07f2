"""A folder of one's own: NAME.jpg (or .png) with NAME.mask.png and NAME.txt, one phrase a line, all for that mask.

More masks of the same image are NAME.2.mask.png and NAME.2.txt, and so on. In a mask 0 is background and any other
value the object. Without a mask file the phrases name nothing in the image. Blank lines are none. A mask that no phrase
is about, one that is no PNG, and two images of one name are told: a phrase must not miss its mask in silence.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from evfsam.types import RgbImage
from workbench.datasets.contract import ABSENT, DatasetError, ListedDataset, Sample, SampleQuestion
from workbench.datasets.dataset_files import expected_folder, files_in, image_reader, label_reader, read_text
from workbench.metrics.masks import Mask

_NAME: Final = "folder"
_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_MASK: Final = ".mask"
_MASK_ENDING: Final = ".mask.png"
KIND: Final = "phrase"


def read_folder(folder: Path) -> ListedDataset:
    """Read a folder laid out as the module says.

    Raises:
        DatasetError: there is no such folder, it has no phrases, phrases without an image, or masks without phrases.
    """
    expected_folder(_NAME, folder)
    pictures = files_in(folder, _SUFFIXES)
    masks = _by_stem([path for path in pictures if path.stem.lower().endswith(_MASK)])
    images = _by_stem([path for path in pictures if not path.stem.lower().endswith(_MASK)])
    by_image: dict[str, list[SampleQuestion]] = defaultdict(list)
    for path in files_in(folder, [".txt"]):
        stem = path.stem if path.stem in images else re.sub(r"\.\d+$", "", path.stem)
        if stem not in images:
            raise DatasetError(f"{_NAME}: expected the image {folder / stem}.jpg or .png of {path.name}, found none")
        by_image[stem] += _questions(path, masks.pop(path.stem + _MASK, None), images[stem])
    _check(folder, masks, by_image)
    samples = (
        Sample(image_reader(images[stem]), tuple(questions), stem) for stem, questions in sorted(by_image.items())
    )
    return ListedDataset(f"{_NAME}:{folder.name}", "all", tuple(samples))


def _by_stem(paths: Sequence[Path]) -> dict[str, Path]:
    """Sort pictures by their name without its ending, that of a mask in small letters."""
    found: dict[str, Path] = {}
    for path in paths:
        stem = path.stem
        if stem.lower().endswith(_MASK):
            stem = stem[: -len(_MASK)] + _MASK
        if stem in found:
            raise DatasetError(f"{_NAME}: expected one picture called {stem}, got {found[stem].name} and {path.name}")
        found[stem] = path
    return found


def _check(folder: Path, masks_left: Mapping[str, Path], by_image: Mapping[str, Sequence[SampleQuestion]]) -> None:
    if not by_image:
        raise DatasetError(
            f"{_NAME}: expected NAME.txt with a phrase a line beside NAME.jpg and NAME.mask.png in {folder}, found none"
        )
    for stem, path in masks_left.items():
        raise DatasetError(
            f"{_NAME}: expected phrases about {path.name} in {folder / stem.removesuffix(_MASK)}.txt, found none; add "
            "them, or take the mask away"
        )


def _questions(path: Path, mask: Path | None, image_path: Path) -> list[SampleQuestion]:
    phrases = [line.strip() for line in read_text(_NAME, path).splitlines() if line.strip()]
    if not phrases:
        raise DatasetError(f"{_NAME}: expected a phrase a line in {path}, found none; write some, or take it away")
    if mask is None:
        return [SampleQuestion(phrase, ABSENT, partial(_nothing_in, image_path)) for phrase in phrases]
    if mask.suffix.lower() != ".png":
        raise DatasetError(
            f"{_NAME}: expected the mask {path.stem}{_MASK_ENDING}, got {mask.name}, which may have lost grey values; "
            "save it as PNG"
        )
    return [SampleQuestion(phrase, KIND, partial(_read_mask, mask)) for phrase in phrases]


def _read_mask(path: Path) -> Mask:
    mask: Mask = label_reader(path) > 0
    return mask


def _nothing_in(path: Path) -> Mask:
    image: RgbImage = image_reader(path)()
    mask: Mask = image[..., 0] != image[..., 0]
    return mask
