from webui.tabs.opened_run import chosen_or_first

CHOICES = [("EVF-SAM", "evf-sam"), ("CLIP text", "clip-text")]


def test_what_a_run_does_not_have_falls_back_to_the_first_choice() -> None:
    assert chosen_or_first("clip-text", CHOICES) == "clip-text"
    assert [chosen_or_first(sent, CHOICES) for sent in ("gone", None, 3, ["clip-text"])] == ["evf-sam"] * 4


def test_true_is_no_number() -> None:
    assert chosen_or_first(True, [("None", 0), ("One", 1)]) == 0
