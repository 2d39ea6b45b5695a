"""Keeps what torch.compile made in a folder that nobody else can write.

PyTorch's own place is /tmp/torchinductor_USER, which anybody on the machine may have made first;
and what lies there is loaded as code. So it is taken only when it belongs to this user alone.
"""

import os
import stat
from pathlib import Path

from xunlian.machine.profile import cache_folder

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def use_own_cache() -> Path:
    """The folder that torch.compile uses from now on; one that the user has named stays.

    Raises:
        OSError: it cannot be made.
    """
    from torch._inductor import config
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    default = Path(default_cache_dir())
    named = os.environ.get(VARIABLE)
    if named and Path(named) != default:  # PyTorch sets the variable to its default itself
        return Path(named)
    folder = default
    if not _is_private(default):
        folder = cache_folder() / "torchinductor"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        config.cpp_cache_precompile_headers = False  # they lie in the default whatever is said
    os.environ[VARIABLE] = str(folder)
    return folder


def _is_private(folder: Path) -> bool:
    """Whether only this user can write in `folder`, which is made if it is not there."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError:
        return False
    mine = not hasattr(os, "getuid") or facts.st_uid == os.getuid()
    return mine and stat.S_ISDIR(facts.st_mode) and not facts.st_mode & stat.S_IWOTH
