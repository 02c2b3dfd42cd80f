"""lm-evaluation-harness at work, as a process that `bench_peer.py` starts in the peer's own environment.

    python benchmarks/peer_worker.py MODEL TASKS_FOLDER BATCH DTYPE [ADAPTER]

Loads the model once with the harness's runner `hf-multimodal`, with an adapter by its own option `peft`. Each line on
stdin is a task's name and how many of its questions to ask; the answer is a line of JSON on stdout after `MARK`. Knows
nothing of this project.

The harness asks `AutoProcessor` for the processor, whose picture half needs torchvision in this version of
transformers. The same classes with their PIL half are given instead, which is what this project uses, too.
"""

import json
import resource
import sys
import time

import torch
from lm_eval import simple_evaluate
from lm_eval.models.hf_vlms import HFMultimodalLM
from lm_eval.tasks import TaskManager
from transformers import AutoConfig, AutoTokenizer, LlavaNextProcessor, Qwen2VLProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

MARK = "@@ "


class NoVideo(Qwen2VLProcessor):
    """Without the half for videos."""

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **more):
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template, **more)


def processor_of(path):
    """Tokenizer, template and PIL half of a checkpoint."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    if AutoConfig.from_pretrained(path).model_type == "qwen2_vl":
        images = Qwen2VLImageProcessorPil.from_pretrained(path)
        return NoVideo(images, tokenizer, chat_template=tokenizer.chat_template)
    images = LlavaNextImageProcessorPil.from_pretrained(path)
    return LlavaNextProcessor.from_pretrained(path, tokenizer=tokenizer, image_processor=images)


class Runner(HFMultimodalLM):
    """The harness's runner with that processor."""

    def _create_tokenizer(self, pretrained, *given, **named):
        self.processor = processor_of(pretrained)
        self.tokenizer = self.processor.tokenizer


def timed(lm, seconds):
    """Count what the model's own methods take; building requests and metrics is not counted."""
    for name in ("generate_until", "loglikelihood"):
        setattr(lm, name, _counting(getattr(lm, name), seconds))


def _counting(plain, seconds):
    def method(*given, **named):
        wall, cpu = time.perf_counter(), time.process_time()
        found = plain(*given, **named)
        seconds["wall"] += time.perf_counter() - wall
        seconds["cpu"] += time.process_time() - cpu
        return found

    return method


def main(model, folder, batch, dtype, adapter=None):
    """Answer until stdin ends."""
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    lm = Runner(model, device=device, dtype=dtype, batch_size=int(batch), peft=adapter)
    tasks = TaskManager(include_path=folder, include_defaults=False)
    seconds = {"wall": 0.0, "cpu": 0.0}
    timed(lm, seconds)
    print(f"{MARK}{json.dumps(device)}", flush=True)
    for line in sys.stdin:
        task, number = line.split()
        seconds.update(wall=0.0, cpu=0.0)
        begin = time.perf_counter()
        results = simple_evaluate(
            lm, tasks=[task], task_manager=tasks, limit=int(number), apply_chat_template=True, bootstrap_iters=0
        )
        found = {
            **seconds,
            "whole": time.perf_counter() - begin,
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "rows": [
                {"question_id": sample["doc"]["question_id"], "found": sample["filtered_resps"]}
                for sample in results["samples"][task]
            ],
        }
        print(MARK + json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
