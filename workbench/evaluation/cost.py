"""What answers cost, and on which machine."""

import os
import platform
from pathlib import Path

import torch


def machine_name(device: torch.device) -> str:
    """Name the GPU, or the processor and how many cores it has, for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    described = Path("/proc/cpuinfo")
    lines = described.read_text(errors="replace").splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = next(iter(names), "") or platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"
