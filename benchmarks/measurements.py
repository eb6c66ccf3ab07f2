"""What a benchmark found: rows with a goal and whether it is met, as a table for people and as JSON."""

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import torch

from evfsam.errors import ConfigurationError
from workbench.placement import resolve_device


@dataclass(frozen=True)
class Goal:
    """What a figure should reach.

    Attributes:
        limit: in the row's unit.
        better: which side of the limit is good.
    """

    limit: float
    better: Literal["lower", "higher"] = "lower"

    def is_met_by(self, value: float) -> bool:
        """Return whether a figure is on the good side, the limit included."""
        return value <= self.limit if self.better == "lower" else value >= self.limit

    def __str__(self) -> str:
        return f"{'at most' if self.better == 'lower' else 'at least'} {self.limit:g}"


@dataclass(frozen=True)
class MeasuredRow:
    """One figure.

    Attributes:
        part: the part of the benchmark that took it.
        title: what was measured.
        value: the figure; None where it could not be taken.
        unit: of the value, such as "ms"; empty for ratios.
        goal: what it should reach, if anything.
        note: where the figure is None, the reason; else what a reader needs beside it.
    """

    part: str
    title: str
    value: float | None = None
    unit: str = ""
    goal: Goal | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """How the figure stands to its goal: "met", "MISSED", "not measured" or nothing."""
        if self.value is None:
            return "not measured"
        if self.goal is None:
            return ""
        return "met" if self.goal.is_met_by(self.value) else "MISSED"

    def line(self) -> str:
        """Return the row of a table."""
        figure = "-" if self.value is None else f"{self.value:.4g}"
        goal = "" if self.goal is None else str(self.goal)
        note = f"  {self.note}" if self.note else ""
        return (
            f"{self.part:<14} {self.title:<48} {figure:>9} {self.unit:<8} {goal:<14} {self.verdict:<12}{note}".rstrip()
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, the verdict among them."""
        return {**asdict(self), "goal": None if self.goal is None else str(self.goal), "verdict": self.verdict}


HEADING: Final = f"{'part':<14} {'what':<52} {'figure':>9} {'unit':<8} {'goal':<14} verdict"


@dataclass
class Report:
    """The rows so far; every new one is printed, and the file is written after each part.

    Args:
        machine: where the figures were taken.
        file: where the JSON goes; None for no file.
    """

    machine: dict[str, Any]
    file: Path | None = None
    rows: list[MeasuredRow] = field(default_factory=list)

    def add(self, row: MeasuredRow) -> None:
        """Keep a row and print it."""
        self.rows.append(row)
        print(row.line(), flush=True)

    def write(self) -> None:
        """Write the rows so far, whole or not at all."""
        if self.file is None:
            return
        values = {"machine": self.machine, "rows": [row.to_dict() for row in self.rows]}
        beside = self.file.with_name(f"{self.file.name}.part")
        beside.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        beside.replace(self.file)

    def missed(self) -> Sequence[MeasuredRow]:
        """Return the rows that fall short of their goals or could not be measured although they have one."""
        return [row for row in self.rows if row.goal is not None and row.verdict != "met"]


def as_markdown(values: Mapping[str, Any]) -> str:
    """Lay out what `Report.write` wrote as a table of Markdown."""
    lines = ["| part | what | figure | goal | verdict |", "|---|---|---|---|---|"]
    for row in values["rows"]:
        figure = row["note"] if row["value"] is None else f"{row['value']:.4g} {row['unit']}".strip()
        lines.append(f"| {row['part']} | {row['title']} | {figure} | {row['goal'] or ''} | {row['verdict']} |")
    return "\n".join(lines) + "\n"


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return what a reader must know of the machine to judge the figures; JSON values."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    return {
        "device": str(device),
        "name": name,
        "cores": cores,
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
    }


def processor_name() -> str:
    """Return the CPU's name, or its architecture where the system does not say."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def chosen_device(parser: argparse.ArgumentParser, name: str) -> torch.device:
    """Return the device asked for; where this machine has none such, say so and leave with code 2."""
    try:
        return resolve_device(name)
    except ConfigurationError as error:
        parser.error(str(error))
