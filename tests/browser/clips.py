"""A small clip on which the fake strategies find something."""

from pathlib import Path

import av

from tests.webui.fakes import three_colours


def colour_clip(path: Path, count: int) -> Path:
    """Write three coloured squares that move."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 120, 160, "yuv420p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(three_colours((120, 160), shift=index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
