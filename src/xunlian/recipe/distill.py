"""The table of a distillation: a bigger model teaches a smaller one."""

from pydantic import Field

from xunlian.recipe.table import Table


class Distill(Table):
    """Learn what a bigger model thinks of every token, beside the text itself."""

    teacher: str = Field(
        description="The bigger model: a run, a Hugging Face model folder, or a model of its hub "
        "(hf:owner/name), with the corpus's tokenizer. Its probabilities are learned beside the "
        "text (arXiv 1503.02531)."
    )
    temperature: float = Field(
        1.0,
        gt=0,
        description="Both models' logits are divided by it where they are compared: above 1, "
        "improbable tokens count for more.",
    )
    hard_weight: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Weight of the loss on the text itself; the rest is that of the divergence "
        "from the teacher.",
    )
