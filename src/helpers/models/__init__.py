"""Vision-language models: what is particular to a family, loading in 4 bit, LoRA, and the demo's tiny models."""

import logging
import warnings

# bitsandbytes says at import that it found no compiled 4-bit product for this CPU, on its way to one that needs none;
# the compiled one would be fetched from a hub, and computes with rounded weights (see `loading`).
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# Both are of the libraries' own making: peft asks transformers by an old name, and looks for the base's vocabulary, which
# no adapter changes, where the adapter says that the base lies (from the root).
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
warnings.filterwarnings("ignore", message="Could not find a config file in", category=UserWarning)
