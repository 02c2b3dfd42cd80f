"""Vision-language models: what is particular to a family, loading in 4 bit, LoRA, and the demo's tiny models."""

import logging

# bitsandbytes says at import that it found no compiled 4-bit product for this CPU, on its way to one that needs none;
# the compiled one would be fetched from a hub, and computes with rounded weights (see `loading`).
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
