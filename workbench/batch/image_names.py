"""Which image a line of a table means: by its name, by the end of its path, or by another reading of its name."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from unicodedata import normalize

from workbench.batch.files import BatchImage, plain_name


class ImageNames:
    """The names of a batch's images.

    Args:
        images: each name once.
    """

    def __init__(self, images: Iterable[BatchImage]) -> None:
        self._by_name: dict[str, str] = {}
        self._by_last: dict[str, list[str]] = defaultdict(list)
        self._by_other: dict[str, list[str]] = defaultdict(list)
        for image in images:
            self._by_name[image.name] = image.name
            self._by_last[PurePosixPath(image.name).name].append(image.name)
            for other in image.other_names:
                self._by_other[normalize("NFC", other)].append(image.name)

    def meant_by(self, written: str) -> list[str]:
        """Return the names of the images that a path can mean; several where it is not clear, none where it is unknown.

        A path may leave folders out in front ("1.png" for "c/1.png"), or have more of them than the batch knows
        ("c/1.png" for "1.png" out of a folder c).
        """
        wanted = plain_name(written)
        if wanted in self._by_name:
            return [wanted]
        alike = self._by_last.get(PurePosixPath(wanted).name, [])
        longer = [name for name in alike if name.endswith(f"/{wanted}")]
        if longer:
            return longer
        shorter = sorted((name for name in alike if wanted.endswith(f"/{name}")), key=len, reverse=True)
        return shorter[:1] or self._by_other.get(wanted, [])
