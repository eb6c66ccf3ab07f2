"""What the page says of a batch: its plan, how far it is, what could not be used, a table and a gallery. No gradio."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image

from evfsam.types import StrategyCard
from webui.i18n.translate import translate, translate_message
from webui.wording import percent
from workbench.batch.batch_files import Fault, Limits
from workbench.batch.batch_folder import BatchAnswer
from workbench.batch.batch_plan import BatchPlan
from workbench.batch.batch_run import BatchProgress

_THUMBNAIL_SIDE: Final = 400
_QUALITY: Final = 82
_MOST_THUMBNAILS: Final = 240
_VERDICTS: Final = {"found": "Found", "absent": "Not in the image", "failed": "Failed"}


def limits_in_words(limits: Limits) -> str:
    """Say what one batch may hold."""
    words = translate(
        "Up to {images} images, {phrases} phrases an image, {questions} questions in all; {file} MB a file, {all} MB "
        "unpacked.",
        images=limits.images,
        phrases=limits.phrases,
        questions=limits.questions,
        file=limits.file_megabytes,
        all=limits.megabytes,
    )
    table = translate("A CSV has the columns image and phrase, and asks each phrase of its image alone.")
    return f'<p class="caption" id="batch-limits">{escape(words)} {escape(table)}</p>'


def plan_in_words(plan: BatchPlan, strategy_count: int) -> str:
    """Say how much will be asked, and what cannot be used."""
    words = translate(
        "{images} images, {questions} questions, {strategies} strategies: {answers} answers.",
        images=len(plan.images),
        questions=plan.question_count,
        strategies=strategy_count,
        answers=plan.question_count * strategy_count,
    )
    return f'<p class="plan">{escape(words)}</p>{fault_list(plan.faults)}'


def fault_list(faults: Sequence[Fault]) -> str:
    """Name what could not be used, a line each."""
    if not faults:
        return ""
    one = translate("One thing cannot be used:")
    head = one if len(faults) == 1 else translate("{count} things cannot be used:", count=len(faults))
    items = "".join(
        f"<li><b>{escape(fault.place)}</b> {escape(translate_message(fault.reason))}</li>" for fault in faults
    )
    listed = f'<ul tabindex="0" aria-label="{escape(head)}">{items}</ul>'
    return f'<div class="batch-faults"><p>{escape(head)}</p>{listed}</div>'


def batch_progress_line(progress: BatchProgress) -> str:
    """Say how far a batch at work is, and how long it will take."""
    words = translate(
        "{done} of {total} answers. Now: {image}.",
        done=progress.done_count,
        total=progress.total_count - progress.skipped_count,
        image=progress.image_name,
    )
    left = (
        ""
        if progress.seconds_left is None
        else translate("About {time} left.", time=time_in_words(progress.seconds_left))
    )
    bar = (
        f'<progress max="{progress.total_count}" value="{progress.done_count + progress.skipped_count}" '
        f'aria-label="{escape(translate("answers"))}"></progress>'
    )
    return f'<div class="status" role="status">{bar}<span>{escape(words)} {escape(left)}</span></div>'


def time_in_words(seconds: float) -> str:
    """Write a rough duration: "20 s", "3 min", "1 h 5 min"."""
    if seconds < 60:
        return translate("{count} s", count=max(5, 5 * round(seconds / 5)))
    minutes = round(seconds / 60)
    if minutes < 60:
        return translate("{count} min", count=minutes)
    return translate("{hours} h {minutes} min", hours=minutes // 60, minutes=minutes % 60)


def answer_table(answers: Sequence[BatchAnswer], cards: Mapping[str, StrategyCard], caption: str) -> str:
    """Write a row a question and a column a strategy; scrolls within its frame."""
    if not answers:
        return ""
    questions: dict[tuple[str, str], dict[str, BatchAnswer]] = {}
    for answer in answers:
        questions.setdefault((answer.image, answer.phrase), {})[answer.strategy] = answer
    keys = [key for key in cards if any(key in asked for asked in questions.values())]
    words = [translate("Image"), translate("Phrase"), *(translate_message(cards[key].title) for key in keys)]
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in words)
    rows = "".join(
        f'<tr><th scope="row">{escape(image)}</th><th scope="row" lang="en">{escape(phrase)}</th>'
        f"{''.join(_cell(asked.get(key)) for key in keys)}</tr>"
        for (image, phrase), asked in questions.items()
    )
    return (
        f'<div class="scroller batch-table" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(answer: BatchAnswer | None) -> str:
    if answer is None:
        return "<td>–</td>"
    found = f" {percent(answer.area_share)}" if answer.verdict == "found" else ""
    guess = "" if answer.pred_iou is None else f"pred_iou {answer.pred_iou:.2f}, "
    return (
        f'<td data-verdict="{answer.verdict}">{escape(_verdict(answer))}{found}'
        f"<small>{guess}{answer.seconds:.2f} s</small></td>"
    )


def gallery(
    answers: Sequence[BatchAnswer],
    cards: Mapping[str, StrategyCard],
    directory: Path,
    made: dict[str, str],
    across: int = 0,
) -> str:
    """Show the overlays of some answers, each with its words.

    Args:
        answers: few: each carries its picture.
        cards: of the strategies.
        directory: of the batch's files.
        made: thumbnails by file; added to.
        across: how many belong to one question, to stand in one row; 0 for as many as there is room for.
    """
    items = "".join(_tile(answer, cards[answer.strategy], directory, made) for answer in answers)
    rows = f' style="--across:{across}" data-rows' if across else ""
    return f'<ul class="batch-gallery" aria-label="{escape(translate("Overlays"))}"{rows}>{items}</ul>' if items else ""


def _tile(answer: BatchAnswer, card: StrategyCard, directory: Path, made: dict[str, str]) -> str:
    title, verdict = translate_message(card.title), translate(_VERDICTS[answer.verdict])
    alt = translate(
        "“{phrase}” in {image} by {strategy}: {verdict}",
        phrase=answer.phrase,
        image=answer.image,
        strategy=title,
        verdict=verdict,
    )
    picture = '<div class="no-picture" aria-hidden="true">!</div>'
    if answer.overlay:
        picture = f'<img src="{_thumbnail(directory / answer.overlay, made)}" alt="{escape(alt)}">'
    found = f"{verdict}: {percent(answer.area_share)}" if answer.verdict == "found" else verdict
    return (
        f"<li><figure>{picture}<figcaption><b>{escape(answer.phrase)}</b>"
        f"<span>{escape(title)}. {escape(found)}</span><small>{escape(answer.image)}</small></figcaption></figure></li>"
    )


def _thumbnail(path: Path, made: dict[str, str]) -> str:
    if path.name not in made:
        if len(made) >= _MOST_THUMBNAILS:
            made.clear()
        buffer = BytesIO()
        with Image.open(path, formats=("JPEG",)) as picture:
            picture.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
            picture.save(buffer, "JPEG", quality=_QUALITY)
        made[path.name] = "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode("ascii")
    return made[path.name]


def _verdict(answer: BatchAnswer) -> str:
    if answer.verdict == "failed":
        return f"{translate(_VERDICTS['failed'])}: {translate_message(answer.reason)}"
    return translate(_VERDICTS[answer.verdict])
