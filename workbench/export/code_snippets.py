"""A run as code to copy: Python for the library and for `gradio_client`, bash for curl."""

import json
import shlex
from typing import Final

from workbench.comparison import StrategyOptions
from workbench.export.run_recipes import ExampleSource, GeneratedScene, ImageSource, RunRecipe

DEFAULT_ADDRESS: Final = "http://127.0.0.1:7860"
UPLOAD_NAME: Final = "your-image.png"


def library_snippet(recipe: RunRecipe) -> str:
    """Write Python that makes the same run with this repository's library, and prints what each strategy found.

    Run it in the root of the repository. `masks` holds a (H, W) bool mask by strategy and number of the phrase.
    """
    phrases = _text(recipe.phrases[0]) if len(recipe.phrases) == 1 else repr(list(recipe.phrases))
    imports = {
        _image_import(recipe.source),
        "from workbench.comparison import Comparison",
        "from workbench.suites.registry import find_suite",
    }
    return (
        "\n".join(sorted(imports)) + "\n\n"
        f"image = {_image_expression(recipe.source)}\n"
        f'comparison = Comparison(find_suite("{recipe.suite}"))\n'
        f"strategies = {list(recipe.strategies)!r}\n"
        f"options = {_plain(recipe.options)!r}\n"
        "masks = {}\n"
        f"for result in comparison.run(image, {phrases}, strategies, options):\n"
        "    for number, answer in enumerate(result.by_phrase, start=1):\n"
        "        masks[result.key, number] = answer.mask\n"
        "        print(result.key, number, answer.verdict.kind, answer.area_share, answer.pred_iou)\n"
    )


def client_snippet(recipe: RunRecipe, address: str = DEFAULT_ADDRESS) -> str:
    """Write Python that asks a running page by `gradio_client`; only scenes need this repository."""
    drawing = "" if not isinstance(recipe.source, GeneratedScene) else f"{_drawing(recipe.source)}\n"
    imports = "from gradio_client import Client, handle_file\n"
    if isinstance(recipe.source, GeneratedScene):
        imports += "from PIL import Image\n\nfrom workbench.datasets.scenes import scene\n"
    options = f"    options={_plain(recipe.options)!r},\n" if recipe.options else ""
    return (
        f"{imports}\n{drawing}"
        f'client = Client("{address}")\n'
        "result = client.predict(\n"
        f"    image=handle_file({_text(file_name(recipe.source))}),\n"
        f"    phrase={_text(recipe.request)},\n"
        f"    strategies={list(recipe.strategies)!r},\n"
        f"{options}"
        '    api_name="/compare_strategies",\n'
        ")\n"
        'for answer in result["answers"]:\n'
        '    print(answer["strategy"], answer["verdict"], answer["area_share"], answer["pred_iou"])\n'
    )


def curl_snippet(recipe: RunRecipe, address: str = DEFAULT_ADDRESS) -> str:
    """Write bash that sends the picture to a running page, and prints the answers as JSON."""
    drawing = ""
    if isinstance(recipe.source, GeneratedScene):
        code = f"from PIL import Image; from workbench.datasets.scenes import scene; {_drawing(recipe.source)}"
        drawing = f"python -c {shlex.quote(code)}\n"
    fields = [f"phrase={recipe.request}", f"strategies={json.dumps(list(recipe.strategies))}"]
    if recipe.options:
        fields.append(f"options={json.dumps(_plain(recipe.options), ensure_ascii=False)}")
    sent = [f"-F {shlex.quote('image=@' + file_name(recipe.source))}"]
    sent += [f"--form-string {shlex.quote(field)}" for field in fields]
    place = shlex.quote(address.rstrip("/") + "/programs/compare_strategies")
    return f"{drawing}curl -sf " + "".join(f"{each} \\\n    " for each in sent) + f"{place}\n"


def file_name(source: ImageSource) -> str:
    """Return the file that the client's snippets read."""
    if isinstance(source, ExampleSource):
        return f"examples/{source.file}"
    return f"scene-{source.seed}.png" if isinstance(source, GeneratedScene) else UPLOAD_NAME


def _text(text: str) -> str:
    """Write a text as Python; in double quotes, as the rest of the snippet, where that needs no escapes."""
    return f'"{text}"' if text.isprintable() and not set(text) & {'"', "\\"} else repr(text)


def _image_import(source: ImageSource) -> str:
    if isinstance(source, GeneratedScene):
        return "from workbench.datasets.scenes import scene"
    return "from evfsam.preprocess import load_image"


def _image_expression(source: ImageSource) -> str:
    if isinstance(source, GeneratedScene):
        return f"scene({source.seed}, {source.size}).image"
    return f"load_image({_text(file_name(source))})"


def _drawing(source: GeneratedScene) -> str:
    return f'Image.fromarray({_image_expression(source)}).save("{file_name(source)}")'


def _plain(options: StrategyOptions) -> dict[str, dict[str, object]]:
    return {key: dict(values) for key, values in options.items()}
