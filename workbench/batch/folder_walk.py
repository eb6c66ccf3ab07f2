"""All files of a folder and of those below it, through links too; nothing there is passed over in silence."""

import stat
from collections import deque
from pathlib import Path


def files_below(top: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Find files.

    Links are followed, out of the folder as well, after all that lies in it: so a folder keeps its own name.

    Args:
        top: the folder.

    Returns:
        Files by their name below it, with "/" between folders, in the order of names; and for names that are neither
        file nor folder, or a folder that was met already, the reason why nothing is read there.
    """
    files: dict[str, Path] = {}
    unusable: dict[str, str] = {}
    seen: dict[tuple[int, int], str] = {}
    folders, linked = deque([top]), deque[Path]()
    while folders or linked:
        folder = folders.popleft() if folders else linked.popleft()
        place = folder.relative_to(top).as_posix()
        try:
            state, inner = folder.stat(), sorted(folder.iterdir())
        except OSError as error:
            unusable[place] = f"cannot be read: {error.strerror or error}"
            continue
        known = seen.setdefault((state.st_dev, state.st_ino), place)
        if known != place:
            unusable[place] = f"leads to the same folder as {known}; its images are asked once"
            continue
        for path in inner:
            name = path.relative_to(top).as_posix()
            kind = _kind(path)
            if kind == "folder":
                (linked if path.is_symlink() else folders).append(path)
            elif kind == "file":
                files[name] = path
            else:
                unusable[name] = kind
    return {name: files[name] for name in sorted(files)}, unusable


def _kind(path: Path) -> str:
    """Return "folder", "file", or why it is neither."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return "is a link that leads nowhere" if path.is_symlink() else f"cannot be read: {error.strerror or error}"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "is no plain file"
