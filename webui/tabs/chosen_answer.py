"""Which answer is looked into: a strategy and a phrase, one choice for the large picture and for all of Inspect."""

from dataclasses import dataclass, replace

import gradio as gr

from webui.i18n.translate import translate, translate_message
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.runs import Progress
from webui.tabs.compare.tab import ComparePage
from webui.tabs.opened_run import chosen_or_first, phrase_choices
from workbench.comparison import StrategyResult


@dataclass(frozen=True, eq=False)
class AnswerChoice:
    """The lists above the tabs of Inspect; what they say is kept in `ComparePage.chosen`."""

    strategy: gr.Dropdown
    phrase: gr.Dropdown

    @property
    def components(self) -> list[gr.components.Component]:
        """What a run changes."""
        return [self.strategy, self.phrase]

    def hidden(self) -> Updates:
        """Offer nothing: there is no run."""
        return dict.fromkeys(self.components, gr.update(visible=False))

    def offered(self, progress: Progress, result: StrategyResult, phrase: int) -> Updates:
        """Offer all answers of a run, with the one that is looked into chosen."""
        strategies = [(translate_message(each.card.title), each.key) for each in progress.results]
        phrases = phrase_choices(progress, with_all=False)
        return {
            self.strategy: gr.update(choices=strategies, value=result.key, visible=len(strategies) > 1),
            self.phrase: gr.update(choices=phrases, value=phrase, visible=len(phrases) > 1),
        }


def build_choice(page: ComparePage) -> AnswerChoice:
    """Lay out the lists; each choice becomes the page's."""
    with gr.Row(elem_id="inspect-choice"):
        strategy = gr.Dropdown(
            [], label=translate("Strategy"), visible=False, filterable=False, elem_id="inspect-strategy"
        )
        phrase = gr.Dropdown([], label=translate("Phrase"), visible=False, filterable=False, elem_id="inspect-phrase")
    # Queued, or Gradio would not tell of the state's change; unprocessed, for the choices are a run's.
    quiet = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}
    gr.on([strategy.input, phrase.input], lambda *chosen: chosen, [strategy, phrase], page.chosen, **quiet)
    return AnswerChoice(strategy, phrase)


def answer_of(progress: Progress, chosen: object) -> tuple[StrategyResult, int]:
    """Return the answer chosen and the number of its phrase; the first of a run that lacks it.

    Args:
        progress: of the run.
        chosen: value of `ComparePage.chosen`, perhaps from another run.

    Returns:
        The strategy's answer to that phrase alone, and the phrase's number.
    """
    strategy, phrase = chosen if isinstance(chosen, list | tuple) and len(chosen) == 2 else (None, 0)
    number = chosen_or_first(phrase, phrase_choices(progress, with_all=False))
    key = chosen_or_first(strategy, [("", result.key) for result in progress.results])
    result = next(each for each in progress.results if each.key == key)
    return replace(result, segmentation=result.by_phrase[number], answers=()), number
