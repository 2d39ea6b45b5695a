"""Spares the compiler behind torch.compile what it would find out in seconds.

Before its first kernel torch.compile builds and loads a trial program for each set of instructions
that the processor has: 6 s of 22 on two cores, from cold. The processor's flags say what it can do;
what is left to ask is whether the C++ compiler is new enough for all of them.
"""

import subprocess
import sys

# gcc 11 and clang 12 know it; its instructions are all that torch.compile uses.
NEWEST_ARCHITECTURE = "sapphirerapids"


def trust_instruction_sets(compiler: str | None) -> bool:
    """Let torch.compile use what the processor has without trying; whether it will.

    A compiler that is too old keeps the trials, and so does TORCHINDUCTOR_VEC_ISA_OK.
    """
    from torch._inductor import config

    if sys.platform != "linux" or compiler is None or config.cpp.vec_isa_ok is not None:
        return False
    command = [compiler, f"-march={NEWEST_ARCHITECTURE}", "-E", "-x", "c++", "/dev/null"]
    known = subprocess.run(command, capture_output=True).returncode == 0
    if known:
        config.cpp.vec_isa_ok = True
    return known
