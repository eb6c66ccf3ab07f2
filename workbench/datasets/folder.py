"""A folder of one's own: NAME.jpg (or .png) with NAME.mask.png and NAME.txt, one phrase a line, all for that mask.

More masks of the same image are NAME.2.mask.png and NAME.2.txt, and so on. In a mask 0 is background and any other
value the object. Without a mask file the phrases name nothing in the image.
"""

import re
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Final

from evfsam.types import RgbImage
from workbench.datasets.contract import ABSENT, DatasetError, ListedDataset, Question, Sample
from workbench.datasets.layout import expected_folder, files_in, image_reader, label_reader
from workbench.metrics.masks import Mask

_NAME: Final = "folder"
_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp")
_MASK_ENDING: Final = ".mask.png"
KIND: Final = "phrase"


def read_folder(folder: Path) -> ListedDataset:
    """Read a folder laid out as the module says.

    Raises:
        DatasetError: there is no such folder, it has no phrases, or phrases without an image.
    """
    expected_folder(_NAME, folder)
    images = {path.stem: path for path in files_in(folder, _SUFFIXES) if not path.name.endswith(_MASK_ENDING)}
    by_image: dict[str, list[Question]] = defaultdict(list)
    for path in files_in(folder, [".txt"]):
        stem = path.stem if path.stem in images else re.sub(r"\.\d+$", "", path.stem)
        if stem not in images:
            raise DatasetError(f"{_NAME}: expected the image {folder / stem}.jpg or .png of {path.name}, found none")
        by_image[stem] += _questions(path, images[stem])
    if not by_image:
        raise DatasetError(
            f"{_NAME}: expected NAME.txt with a phrase a line beside NAME.jpg and NAME.mask.png in {folder}, found none"
        )
    samples = (
        Sample(image_reader(images[stem]), tuple(questions), stem) for stem, questions in sorted(by_image.items())
    )
    return ListedDataset(f"{_NAME}:{folder.name}", "all", tuple(samples))


def _questions(path: Path, image_path: Path) -> list[Question]:
    phrases = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    mask_path = path.with_name(path.stem + _MASK_ENDING)
    if mask_path.is_file():
        return [Question(phrase, KIND, partial(_read_mask, mask_path)) for phrase in phrases]
    return [Question(phrase, ABSENT, partial(_nothing_in, image_path)) for phrase in phrases]


def _read_mask(path: Path) -> Mask:
    mask: Mask = label_reader(path) > 0
    return mask


def _nothing_in(path: Path) -> Mask:
    image: RgbImage = image_reader(path)()
    mask: Mask = image[..., 0] != image[..., 0]
    return mask
