"""What a training run cost: time, peak memory and energy (Figure 2 of the paper).

    with Meter() as meter:
        train()
    record = meter.record()

Energy comes from codecarbon (offline: no network, nothing written), and is in most places an estimate; what it rests
on is recorded with it. Read `Meter` before comparing numbers of two machines.
"""

import logging
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

import psutil

from helpers.provenance import hardware

MB = 1_000_000  # bytes
SAMPLES_PER_SECOND = 20


class Meter:
    """Measures the block that it is used with.

    Seconds: wall clock. The energy tracker needs 1 to 2 s to find out what hardware there is; it is started before the
    clock and stopped after it, and the energy counts from where the clock begins.

    Peak memory: where torch has used a GPU, the most that torch had allocated there during the block. Otherwise the
    most physical memory (RSS) that the process held during the block, everything loaded before included. It is sampled,
    because the kernel's own peak (``ru_maxrss``) never falls: it would report the loading of a checkpoint, or a run
    earlier in the same process, as the memory of every later one.

    Energy: CPU + RAM + GPU. RAPL measures the CPU where it may be read; otherwise codecarbon multiplies the CPU's rated
    power (TDP) with the load that this process and its children put on it. RAM has no meter and is estimated: at demo
    size a constant 10 W, more than a small CPU takes, so look at the parts too. RAPL and a GPU's counter measure the
    whole device: nothing else should run there. ``country`` (ISO code) is needed by codecarbon's conversion to
    emissions, which is not recorded; it has no bearing on the energy.

    Raises ``RuntimeError`` on entry if codecarbon cannot start: better before a training than after it.
    """

    def __init__(self, country: str = "KOR") -> None:
        self._country = country
        self._record: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        self._tracker = _start_tracker(self._country)
        self._memory = _PeakMemory()
        self._memory.start()
        self._begin = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._begin
        peak, where = self._memory.stop()
        self._tracker.stop()
        self._record = {
            "seconds": round(seconds, 3),
            "peak_memory_mb": round(peak / MB, 1),
            "memory_of": where,
            **_energy(self._tracker),
            "hardware": hardware(),
        }

    def record(self) -> dict[str, Any]:
        """What was measured, in plain values. Raises ``RuntimeError`` before the block has ended."""
        if self._record is None:
            raise RuntimeError("nothing was measured yet: leave the `with Meter()` block before asking for its record")
        return dict(self._record)


class _PeakMemory(threading.Thread):
    """The most memory in use, in bytes, between start and stop; and whose memory it is: "process" or "GPU"."""

    def __init__(self) -> None:
        super().__init__(name="peak memory", daemon=True)
        self._process = psutil.Process()
        self._peak = 0
        self._end = threading.Event()

    def start(self) -> None:
        if cuda := _cuda_in_use():
            for device in range(cuda.device_count()):
                cuda.reset_peak_memory_stats(device)
        self._sample()
        super().start()

    def run(self) -> None:
        while not self._end.wait(1 / SAMPLES_PER_SECOND):
            self._sample()

    def stop(self) -> tuple[int, str]:
        self._end.set()
        self.join()
        self._sample()
        if cuda := _cuda_in_use():
            return sum(cuda.max_memory_allocated(device) for device in range(cuda.device_count())), "GPU"
        return self._peak, "process"

    def _sample(self) -> None:
        self._peak = max(self._peak, self._process.memory_info().rss)


def _cuda_in_use() -> Any | None:
    """``torch.cuda`` if this process has used it. Looked up, not imported: an import would cost seconds."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_initialized() else None


def _start_tracker(country: str) -> Any:
    """A started tracker of codecarbon, which swallows its own exceptions: whether it has started has to be asked."""
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.input import DataSource

    if country not in DataSource().get_global_energy_mix_data():
        raise ValueError(f"country is {country!r}; it must be an ISO code of three letters, such as 'KOR'")
    logging.getLogger("codecarbon").setLevel(logging.ERROR)  # `log_level` below comes too late for the first messages
    tracker = OfflineEmissionsTracker(
        country_iso_code=country,
        output_methods=[],  # nothing to a file, nothing to a server
        emissions_endpoint=None,
        measure_power_secs=1,
        tracking_mode="process",  # two runs at once must not each be charged with both
        allow_multiple_runs=True,  # otherwise a lock file makes the second run measure nothing
        log_level="error",
    )
    tracker.start()
    if getattr(tracker, "_start_time", None) is None:
        raise RuntimeError("codecarbon did not start; its own message is above. Try `codecarbon detect` in a shell")
    return tracker


def _energy(tracker: Any) -> dict[str, Any]:
    """Energy in Wh, altogether and in parts; all None if codecarbon failed on the way, which must not cost the run."""
    data = getattr(tracker, "final_emissions_data", None)
    parts = {"energy": "energy_consumed", "cpu": "cpu_energy", "ram": "ram_energy", "gpu": "gpu_energy"}
    kilowatt_hours = {name: getattr(data, attribute, None) for name, attribute in parts.items()}
    return {
        **{f"{name}_wh": None if kwh is None else 1000 * kwh for name, kwh in kilowatt_hours.items()},
        "energy_source": energy_source(tracker._hardware) if data else "not measured",
    }


def energy_source(devices: list[Any]) -> str:
    """How codecarbon got at the CPU's energy (and the GPU's, where there is one), from its hardware objects."""
    modes = [device._mode for device in devices if hasattr(device, "_mode")]
    kinds = {"intel_rapl": "measured (RAPL)", "cpu_load": "estimated (TDP)", "constant": "estimated (TDP)"}
    cpu = kinds.get(modes[0], f"measured ({modes[0]})") if modes else "estimated (TDP)"
    with_gpu = any(type(device).__name__ == "GPU" for device in devices)
    return f"{cpu}; GPU measured (its own counter)" if with_gpu else cpu
