"""What tabs say where a file of theirs cannot be written: nothing of the server's folders."""

import logging
from types import ModuleType

import pytest

from webui.i18n.translate import in_language, translate
from webui.tabs.batch import tab as batch_tab
from webui.tabs.video import tab as video_tab
from workbench.batch.batch_files import BatchError
from workbench.export.file_writing import UnwritableError

UNWRITABLE = UnwritableError(
    "cannot write {path}: {reason}; choose another place", path="/srv/kept/masks.zip", reason="No space left on device"
)


@pytest.mark.parametrize("tab", [batch_tab, video_tab])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_file_that_cannot_be_written_shows_no_path_of_the_server(
    language: str, tab: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    with in_language(language), caplog.at_level(logging.ERROR):
        assert tab._sentence(UNWRITABLE) == translate(tab._OUR_FAULT)
    assert "/srv/kept/masks.zip" in caplog.text


@pytest.mark.parametrize("tab", [batch_tab, video_tab])
def test_what_a_visitor_can_mend_is_said(tab: ModuleType) -> None:
    assert tab._sentence(BatchError("make it smaller")) == "Make it smaller"
