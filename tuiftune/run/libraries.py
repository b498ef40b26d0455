"""Import what the stages of a run need, at once and fast: most of the time before the first step goes there."""

from __future__ import annotations

import gc


def load_libraries(with_model: bool) -> None:
    """Import datasets and, `with_model`, torch, transformers and the trainer, so that no stage waits for them.

    Python looks for garbage while it imports, over all objects there are again and again, and finds none: a fifth of
    the 3.5 s. What is there afterwards stays, and no later search looks at it.

    Not in a thread beside the first stages: imports hold the interpreter's lock, and two threads that import modules
    which need each other may see half of one.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        import datasets  # noqa: F401

        if with_model:
            import transformers.modeling_utils  # noqa: F401
            from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig  # noqa: F401

            import tuiftune.training.trainer  # noqa: F401
    finally:
        if collected:
            gc.freeze()
            gc.enable()
