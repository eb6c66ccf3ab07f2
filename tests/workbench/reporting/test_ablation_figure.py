"""The picture of the ablations."""

import xml.etree.ElementTree as ET
from pathlib import Path

from workbench.reporting.ablation_tables import FIGURES, AblationRun, draw_ablations, read_figures

DOCS = Path(__file__).parents[3] / "docs"


def test_the_picture_names_every_row_that_was_made(tmp_path: Path) -> None:
    runs = [AblationRun(row, seed, 0.5, 0.5, {}) for row in ("clip-text", "beit3-early") for seed in range(2)]

    draw_ablations(runs, tmp_path / "rows.svg")

    text = "".join(ET.parse(tmp_path / "rows.svg").getroot().itertext())
    assert all(name in text for name in ("CLIP, text alone", "BEiT-3, early in all layers", "table 5", "paper"))
    assert "CLIP, late concat" not in text


def test_the_picture_of_the_readme_is_that_of_the_figures_at_hand(tmp_path: Path) -> None:
    draw_ablations(read_figures(FIGURES), tmp_path / "rows.svg")

    def labels(path: Path) -> list[str]:
        return [text for text in ET.parse(path).getroot().itertext() if text.strip()]

    assert labels(tmp_path / "rows.svg") == labels(DOCS / "ablations.svg")
