"""The house rules that a reader relies on and that only a machine keeps: who imports whom, and what no file does."""

import ast
import graphlib
import importlib.metadata
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
ROOMS = ("evfsam", "baselines", "workbench", "webui", "app")
"""From the bottom to the top: a room may import itself and the rooms before it."""
SCRIPTS = ("training", "benchmarks", "examples", "tests")
MODEL_PACKAGES = ("segment_anything", "torchvision", "transformers")
LARGEST_FILE = 10_000_000


def python_files(*folders: str) -> list[Path]:
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return files + [ROOT / f"{name}.py" for name in folders if (ROOT / f"{name}.py").exists()]


def tracked_files() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in names.decode().split("\0") if name and (ROOT / name).exists()]


def imported_modules(path: Path) -> Iterator[str]:
    """Every module a file names in an import, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; write the room's name"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def lazily_named_modules(path: Path) -> Iterator[str]:
    """Modules named in strings of the form "package.module:function", which loaders import later."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and (match := re.fullmatch(r"([a-z_]\w*(?:\.\w+)*):[a-z_]\w*", text)):
            yield match[1]


def rooms_of(path: Path) -> set[str]:
    return {name.split(".")[0] for name in (*imported_modules(path), *lazily_named_modules(path))}


def breaking(files: list[Path], forbidden: set[str]) -> list[str]:
    return [f"{path.relative_to(ROOT)}: {name}" for path in files for name in sorted(rooms_of(path) & forbidden)]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_down_only(room: str) -> None:
    above = {*ROOMS[ROOMS.index(room) + 1 :], *SCRIPTS}
    files = python_files(room)
    assert files, f"the room {room} has no files"
    assert breaking(files, above) == []


def import_graph() -> dict[str, set[str]]:
    """Map every module to ours that it names, wherever the import stands, and in loaders' strings.

    `from package import module` leads to the module: the package's own file runs before any of its modules anyway.
    """
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in python_files(*ROOMS, "training")
    }
    graph = {}
    for module, path in paths.items():
        named = set(lazily_named_modules(path))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                within = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= {name if name in paths else str(node.module) for name in within}
        graph[module] = named & set(paths)
    return graph


def test_no_module_imports_itself_by_way_of_others() -> None:
    try:
        tuple(graphlib.TopologicalSorter(import_graph()).static_order())
    except graphlib.CycleError as err:
        pytest.fail(f"a circle of imports: {' <- '.join(err.args[1])}")


def test_training_and_scripts_do_not_reach_into_the_page() -> None:
    assert breaking(python_files("training", "examples"), {"webui", "app", "gradio"}) == []


def test_only_the_page_imports_gradio() -> None:
    below = python_files("evfsam", "baselines", "workbench")
    assert breaking(below, {"gradio", "gradio_client"}) == []


def test_the_page_knows_only_the_workbench_and_the_contract() -> None:
    allowed = re.compile(r"(webui|workbench|evfsam\.(types|errors))(\.|$)")
    rooms = (*ROOMS, *SCRIPTS)
    breaches = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in python_files("webui")
        for name in imported_modules(path)
        if name.split(".")[0] in rooms and name != "evfsam" and not allowed.match(name)
    ]
    assert breaches == []


def test_the_baselines_do_not_know_the_evf_sam_model() -> None:
    breaches = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in python_files("baselines")
        for name in imported_modules(path)
        if name.startswith(("evfsam.model", "evfsam.encoders"))
    ]
    assert breaches == []


def dotted_names(path: Path) -> Iterator[str]:
    """Names with dots as they stand in expressions, such as "torch.cuda.is_available"."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)


ENTRY_POINTS = {ROOT / "webui/launch.py", ROOT / "workbench/cli/arguments.py"}
PLACEMENT = ROOT / "workbench/placement.py"


def test_only_entry_points_ask_for_a_device_or_read_the_environment() -> None:
    asked = ("torch.cuda.is_available", "torch.backends.mps.is_available", "os.environ", "os.getenv")
    breaches = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in python_files(*ROOMS)
        if path not in ENTRY_POINTS | {PLACEMENT}
        for name in dotted_names(path)
        if name in asked
    ]
    assert breaches == []


def test_only_entry_points_choose_the_placement() -> None:
    libraries = [path for path in python_files(*ROOMS) if path not in ENTRY_POINTS]
    assert [str(path) for path in libraries if "workbench.placement" in imported_modules(path)] == []


def test_devices_are_arguments_never_a_cuda_call() -> None:
    breaches = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in python_files(*ROOMS, "training", "benchmarks")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda"
    ]
    assert breaches == []


def modules_loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_contract_loads_no_model_package() -> None:
    loaded = modules_loaded_by("import evfsam, evfsam.types, evfsam.errors")
    assert loaded & {"gradio", "matplotlib", *MODEL_PACKAGES} == set()


def test_importing_the_workbench_loads_no_model_package_and_no_page() -> None:
    loaded = modules_loaded_by("import workbench.suites.registry, workbench.comparison")
    assert loaded & {"gradio", *MODEL_PACKAGES} == set()


def test_importing_every_module_writes_prints_and_starts_nothing(tmp_path: Path) -> None:
    """First the page, which comes up before any SAM is there; then the others, and none starts sam2's configuration."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in python_files("evfsam", "baselines", "workbench", "webui")
        if path.name != "__main__.py"
    ]
    code = f"""
import importlib, sys, threading
sys.path.insert(0, {str(ROOT)!r})
import app
assert "segment_anything" not in sys.modules
for name in {names}: importlib.import_module(name)
assert "segment_anything" in sys.modules and "sam2" not in sys.modules
assert threading.active_count() == 1
"""
    command = [sys.executable, "-B", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_file_names_say_what_is_inside() -> None:
    empty_names = {"utils", "helpers", "misc", "common"}
    assert [str(path) for path in tracked_files() if empty_names & set(path.with_suffix("").parts)] == []


def test_no_tracked_file_is_too_large_for_a_space() -> None:
    assert [f"{path}: {path.stat().st_size}" for path in tracked_files() if path.stat().st_size >= LARGEST_FILE] == []


def declared_requirements() -> list[str]:
    """The direct requirements of app, training and checks, as pyproject.toml gives their ranges."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]


def test_scripts_and_tests_import_only_what_the_requirements_declare() -> None:
    declared = {canonicalize_name(Requirement(line).name) for line in declared_requirements()}
    distributions = importlib.metadata.packages_distributions()
    ours = {*ROOMS, *SCRIPTS}
    undeclared = set()
    for path in python_files(*SCRIPTS):
        for module in {name.split(".")[0] for name in imported_modules(path)} - ours - sys.stdlib_module_names:
            owners = {canonicalize_name(name) for name in distributions.get(module, [module])}
            if not owners & declared:
                undeclared.add(f"{path.relative_to(ROOT)}: {module}")
    assert undeclared == set()
