"""What the page says of clips: plain functions from values to words and escaped HTML. No gradio."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from evfsam.types import RgbImage
from webui import figures, wording
from webui.i18n.translate import translate, translate_message
from webui.tabs.batch.wording import time_in_words
from workbench.limits import LARGEST_FILE_MB
from workbench.video.clip_run import PREVIEW_SIDE, ClipProgress
from workbench.video.clips import Clip

_USUAL_RATE: Final = 24
_WAITING_PICTURE: Final = "The chosen frame appears here, and during the work the latest frame with its mask."


@dataclass(frozen=True)
class Turn:
    """Which strategy is at work.

    Attributes:
        title: in the page's language.
        number: from 0.
        count: of all strategies that are asked.
    """

    title: str
    number: int
    count: int


@dataclass(frozen=True, eq=False)
class Finished:
    """How far one strategy came.

    Attributes:
        title: in the page's language.
        progress: at the end.
        fault: what ended the work early, in words.
    """

    title: str
    progress: ClipProgress
    fault: str


def beginning() -> str:
    """Say what to do first."""
    return wording.hint(translate("Choose a clip or take the example, say what to segment, and press Segment."))


def limits(frame_limit: int) -> str:
    """Say which clips can be used, before there is one."""
    words = translate(
        "At most {frames} frames are segmented at one time, {seconds} s at {rate} a second; of a longer clip you "
        "choose the part. MP4, WebM, MOV, MKV or GIF, up to {megabytes} MB. Sound is left out.",
        frames=frame_limit,
        seconds=f"{frame_limit / _USUAL_RATE:.3g}",
        rate=_USUAL_RATE,
        megabytes=LARGEST_FILE_MB,
    )
    return f'<p class="caption">{escape(words)}</p>'


def memory_notes(carries_memory: Mapping[str, bool]) -> str:
    """Say how the mask gets from frame to frame, by the titles of the strategies chosen."""
    notes = {
        True: translate("The phrase is asked on one frame; memory carries the mask to the others."),
        False: translate(
            "No memory carries the mask between frames: this strategy is asked the phrase of every frame alone, so "
            "masks may jump from one frame to the next."
        ),
    }
    kinds = set(carries_memory.values())
    told = [notes[kind] for kind in kinds]
    if len(kinds) > 1:
        told = [
            translate("{title}: {words}", title=translate_message(title), words=notes[carries])
            for title, carries in carries_memory.items()
        ]
    return f'<p class="caption" role="status">{escape(" ".join(told))}</p>'


def plan_line(clip: Clip, first: int, count: int) -> str:
    """Say what a clip is and which part of it will be segmented."""
    height, width = clip.size
    said = [
        translate(
            "{name}: {seconds} s, {count} frames of {width} × {height} pixels.",
            name=clip.path.name,
            seconds=f"{clip.seconds:.1f}",
            count=clip.frame_count,
            width=width,
            height=height,
        )
    ]
    if clip.stored_size != clip.size:
        old_height, old_width = clip.stored_size
        said.append(translate("They are scaled down from {width} × {height}.", width=old_width, height=old_height))
    if clip.damaged_count:
        said.append(translate("Damaged frames that cannot be shown are left out: {count}.", count=clip.damaged_count))
    if count == clip.frame_count:
        said.append(translate("All of it is segmented."))
    else:
        said.append(
            translate(
                "That is too long for one time: only {part} s are segmented, frames {first} to {last}. Move the start "
                "to choose which.",
                part=f"{clip.seconds_of(count):.1f}",
                first=first,
                last=first + count - 1,
            )
        )
    return wording.hint(" ".join(said))


def frame_picture(frame: RgbImage, index: int, seconds: float) -> str:
    """Show the frame that the phrase is about."""
    caption = translate(
        "Frame {frame}, at {seconds} s: the phrase is about this one.", frame=index, seconds=f"{seconds:.2f}"
    )
    return figures.figure(frame, caption, caption, side=PREVIEW_SIDE)


def latest_picture(progress: ClipProgress, title: str) -> str:
    """Show the latest frame with its mask."""
    frame = progress.order.first + progress.latest.index
    area = progress.latest.mask.area / (progress.latest.mask.size[0] * progress.latest.mask.size[1])
    caption = translate("Frame {frame}: the mask covers {share} of it.", frame=frame, share=wording.percent(area))
    alt_text = translate(
        "{title}, mask for “{phrase}”. {caption}", title=title, phrase=progress.order.phrase.strip(), caption=caption
    )
    return figures.figure(progress.latest.preview, alt_text, caption, side=PREVIEW_SIDE)


def no_picture() -> str:
    """Say what will be where the frame is."""
    return f'<div class="clip-place"><p class="empty">{escape(translate(_WAITING_PICTURE))}</p></div>'


def no_result() -> str:
    """Say what will be where the segmented clip is."""
    words = translate("The segmented clip appears here, to play and to download.")
    return f'<div class="clip-place"><p class="empty">{escape(words)}</p></div>'


def clip_progress_line(progress: ClipProgress, turn: Turn) -> str:
    """Say how many frames are done, how long the others will take, and who comes next."""
    done, total = len(progress.masks), progress.order.count
    words = translate("{done} of {total} frames are segmented.", done=done, total=total)
    return _bar(done, total, f"{words} {_left(progress.seconds_left)}", turn)


def writing_line(done: int, total: int, turn: Turn) -> str:
    """Say how many frames of the video are written."""
    return _bar(done, total, translate("Writing the video: {done} of {total} frames.", done=done, total=total), turn)


def finished_line(finished: Sequence[Finished]) -> str:
    """Say what each strategy found, and what to do where it did not."""
    told = [(each.title, *_end_of(each.progress, each.fault)) for each in finished]
    words = " ".join(
        said if len(told) == 1 else translate("{title}: {words}", title=title, words=said) for title, said, _ in told
    )
    return wording.problem(words) if any(is_wrong for _, _, is_wrong in told) else wording.hint(words)


def _end_of(progress: ClipProgress, fault: str) -> tuple[str, bool]:
    """Return what one strategy found, and whether something is to be done."""
    done, total = len(progress.masks), progress.order.count
    counts = {"done": done, "total": total, "found": progress.found_count}
    if fault:
        words = translate("Ended early: {done} of {total} frames are kept, with a mask on {found}.", **counts)
    elif done < total and not (progress.doubt and progress.latest.carries_memory):
        words = translate("Stopped: {done} of {total} frames are kept, with a mask on {found}.", **counts)
    else:
        words = translate("Done: {done} frames, with a mask on {found}.", **counts)
    wrong = " ".join(part for part in (fault, doubt(progress) if progress.doubt else "") if part)
    return (f"{words} {wrong}", True) if wrong else (words, False)


def doubt(progress: ClipProgress) -> str:
    """Say that the phrase is probably not on its frame, why, and what to do."""
    what_next = translate(
        "That is frame {frame}, which the phrase is about: choose a frame that shows it, or other words.",
        frame=progress.order.first + progress.order.prompt_frame,
    )
    return f"{translate_message(progress.doubt)} {what_next}"


def _left(seconds: float | None) -> str:
    return "" if seconds is None else translate("About {time} left.", time=time_in_words(seconds))


def _bar(done: int, total: int, words: str, turn: Turn) -> str:
    label = escape(translate("frames done"))
    if turn.count > 1:
        words = translate("{title}: {words}", title=turn.title, words=words)
    follow = turn.count - turn.number - 1
    if follow:
        # How long another strategy takes is known only once it has begun.
        words = f"{words} {translate('Strategies that follow: {count}.', count=follow)}"
    return (
        f'<div class="status" role="status"><progress max="{total}" value="{done}" aria-label="{label}"></progress>'
        f"<span>{escape(words)}</span></div>"
    )
