"""What a run was made with and what its files are: enough to make it again and to check a copy."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, cast

from workbench.export.exported_run import ExportedRun
from workbench.export.file_writing import as_json_value
from workbench.export.results import result_dict, verdict_dict
from workbench.suites.registry import Suite, content_digest

MANIFEST_NAME: Final = "manifest.json"
MANIFEST_FORMAT: Final = 1
WEIGHT_SUFFIX: Final = ".safetensors"


def weight_digests(suite: Suite, strategies: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the SHA-256 of each weight file of strategies whose weights lie in a directory.

    Returns:
        Digests by strategy key and file name inside the strategy's directory; nothing where there are no such files.
    """
    return {key: _digests_below(getattr(suite.strategies[key], "directory", None)) for key in strategies}


def listed_file(name: str, content: bytes, what: str) -> dict[str, object]:
    """Describe a file of the export as the manifest lists it; `what` says in a line what it is."""
    return {"name": name, "bytes": len(content), "sha256": sha256(content).hexdigest(), "content": what}


def manifest_dict(run: ExportedRun, files: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Return the content of manifest.json.

    Args:
        run: what was exported.
        files: every other file, as `listed_file` describes it.
    """
    result = result_dict(run.image, "; ".join(run.phrases), run.suite, run.results, run.reference)
    content = {
        "format": MANIFEST_FORMAT,
        "suite": run.suite,
        "phrases": run.phrases,
        "image": {"title": run.image_title, **cast(Mapping[str, object], result["image"])},
        "strategies": {result.key: _strategy_dict(run, index) for index, result in enumerate(run.results)},
        "versions": result["versions"],
        "files": files,
    }
    return cast(dict[str, object], as_json_value(content))


def _strategy_dict(run: ExportedRun, index: int) -> dict[str, object]:
    result = run.results[index]
    return {
        "title": result.card.title,
        "paper": result.card.paper,
        "licence": result.card.licence,
        "options": dict(run.options.get(result.key, {})),
        "weights_sha256": run.weights.get(result.key, {}),
        "seconds": {"total": result.seconds, "load": result.load_seconds, "stages": result.segmentation.seconds},
        "answers": [
            {"phrase": phrase, **verdict_dict(segmentation)}
            for phrase, segmentation in zip(run.phrases, result.by_phrase, strict=True)
        ],
    }


def _digests_below(directory: Path | None) -> dict[str, str]:
    if directory is None:
        return {}
    files = sorted(directory.rglob(f"*{WEIGHT_SUFFIX}"))
    return {path.relative_to(directory).as_posix(): content_digest(path) for path in files}
