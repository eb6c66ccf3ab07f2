from evfsam.types import TraceEntry
from webui.tabs.steps import ranking_table


def ranked(similarity: float, *, is_chosen: bool) -> dict[str, object]:
    return {
        "similarity": similarity,
        "share": 0.25,
        "box": [1.0, 2.0, 30.4, 40.0],
        "pred_iou": 0.91,
        "stability": 0.97,
        "is_chosen": is_chosen,
    }


def test_a_ranking_is_written_as_a_table_with_the_chosen_one_named() -> None:
    ranking = [ranked(0.31, is_chosen=True), ranked(0.2, is_chosen=False)]
    written = ranking_table((TraceEntry("propose"), TraceEntry("rank", values={"ranking": ranking})))
    assert written.count('<th scope="row">') == 2
    assert '<th scope="row">1, chosen</th><td>0.310</td><td>25 %</td><td>0.91</td><td>0.97</td>' in written
    assert "<td>1, 2, 30, 40</td>" in written


def test_without_a_ranking_there_is_no_table() -> None:
    assert ranking_table((TraceEntry("look"),)) == ""
