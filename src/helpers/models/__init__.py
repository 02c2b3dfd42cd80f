"""Vision-language models: the families, loading in 4 bit, adapters, checkpoints and caches."""

import logging
import warnings

# At import bitsandbytes reports that it found no compiled 4-bit kernel for this CPU, and then uses one that needs no
# compilation. The compiled one would be downloaded from a hub, and computes with rounded weights (see `loading`).
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# The libraries cause both warnings themselves. peft uses an old name of transformers. It also looks for the base
# model's vocabulary, which no adapter changes, at the path in the adapter, which is relative to the root.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
warnings.filterwarnings("ignore", message="Could not find a config file in", category=UserWarning)
