"""`xunlian merge`: a run that trained an adapter becomes a whole model folder."""

import argparse
import sys
from pathlib import Path


def merge(run: str | Path, *, out: str | Path) -> Path:
    """Write base and adapter of a run as one Hugging Face model folder; returns `out`.

    The base is looked for where it was when the run was trained. Weights are in fp32.

    Args:
        run: a run with an [adapter], or its model/.
        out: the new folder.

    Raises:
        InputError: `run` has no adapter, its base is gone or has other weights now, or `out`
            exists; nothing is left behind.
    """
    import shutil

    from xunlian.errors import InputError
    from xunlian.files import atomic_folder
    from xunlian.interop import adapters
    from xunlian.interop.huggingface import WEIGHTS_FILE, write_weights
    from xunlian.runs.adapted import BASE_FILE, load_merged
    from xunlian.runs.load import load_folder

    folder, out = load_folder(run), Path(out)
    if not adapters.is_adapter(folder):
        raise InputError(f"'{run}' has no adapter to merge: '{folder}' is a whole model already.")
    own = (adapters.CONFIG_FILE, adapters.WEIGHTS_FILE, BASE_FILE)
    with atomic_folder(out) as part:
        model = load_merged(folder)
        shutil.copytree(folder, part, ignore=shutil.ignore_patterns(*own), dirs_exist_ok=True)
        write_weights(part / WEIGHTS_FILE, model)
    return out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run that trained an adapter")
    parser.add_argument(
        "--out", metavar="FOLDER", required=True, help="the Hugging Face model folder to write"
    )
    parser.epilog = "The base model must be where it was when the run was trained."


def run(arguments: argparse.Namespace) -> int:
    sys.stdout.write(f"{merge(arguments.run, out=arguments.out)}\n")
    return 0
