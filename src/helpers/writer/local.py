"""A model in local memory: any checkpoint that `helpers.models` can load; one request at a time, greedy decoding."""

from types import TracebackType
from typing import Any

from helpers.config.writer import Writer
from helpers.images import open_image
from helpers.paths import resolve
from helpers.writer.cache import Cache, CachedReply
from helpers.writer.conversation import WriterRequest

_MAX_PIXELS = 512 * 512  # per image


class LocalModel:
    """Used like `helpers.writer.endpoint.Endpoint`; the model is loaded at the first request."""

    def __init__(self, settings: Writer, cache: Cache) -> None:
        if settings.temperature:
            raise ValueError(
                f"writer.temperature is {settings.temperature}; a local model decodes greedily: set it to 0"
            )
        self.settings, self.cache = settings, cache
        self.stopped: Exception | None = None  # one request at a time: none is under way when another fails
        self._loaded: tuple[Any, Any] | None = None

    async def __aenter__(self) -> "LocalModel":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loaded = None

    async def ask(self, request: WriterRequest) -> CachedReply:
        """The reply, stored."""
        from helpers.models.batches import encode, prompt_texts

        model, processor = self._loaded = self._loaded or self._load()
        image = open_image(request.image, _MAX_PIXELS) if request.image else None
        batch = encode(processor, prompt_texts(processor, [_messages(request)]), [image])
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        new = model.generate(**batch, do_sample=False, max_new_tokens=self.settings.max_tokens)
        new = new[0, batch["input_ids"].shape[1] :]
        reply = CachedReply(
            request=request.key,
            model=self.settings.model,
            text=processor.tokenizer.decode(new, skip_special_tokens=True).strip(),
            finish="length" if len(new) == self.settings.max_tokens else "stop",
            tokens_in=batch["input_ids"].shape[1],
            tokens_out=len(new),
            cost=0.0,
        )
        self.cache.add(reply)
        return reply

    def _load(self) -> tuple[Any, Any]:
        """In half precision on a GPU; not quantised, so that the writer is the published model."""
        from helpers.models.loading import load_model, load_processor

        folder = resolve(self.settings.model)
        path = str(folder) if folder.is_dir() else self.settings.model
        return load_model(path, "auto", four_bit=False)[0], load_processor(path)


def _messages(request: WriterRequest) -> list[dict[str, Any]]:
    """In the form of `helpers.models.batches`. The system prompt opens the user's, as not all templates have one."""
    system, first, *later = request.messages
    parts: list[dict[str, str]] = [{"type": "image"}] if request.image else []
    opening = [*parts, {"type": "text", "text": f"{system['content']}\n\n{first['content']}"}]
    rest = [{"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in later]
    return [{"role": "user", "content": opening}, *rest]
