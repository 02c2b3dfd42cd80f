"""What a run cost: time, peak memory, energy and carbon (Figure 2 of the paper), in total and by phase.

    with Meter() as meter:
        with meter.phase("train"):
            train()
        with meter.phase("save"):
            save()
    record = meter.record(of="train")

Energy comes from codecarbon (offline: no network, nothing written, the user's own settings of it not read). Only what a
meter measured counts as energy; on most machines codecarbon estimates it, and the estimate is recorded apart. Read
`Meter` before comparing numbers from two machines.
`helpers.training.flops` counts the work that was done. `benchmarks/bench_meter.py` measures the cost of the measurement
itself.
"""

import ctypes
import gc
import logging
import os
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from helpers.paths import atomic_write
from helpers.schemas import NO_METER
from helpers.workflow.provenance import hardware
from helpers.workflow.stopwatch import Stopwatch, clock, cuda_in_use

MB = 1_000_000  # bytes
MEMORY_SAMPLES = 20  # per second; each takes a few microseconds
POWER_SECONDS = 2.0  # minimum between two readings of the energy
READING_SHARE = 0.005  # maximum share of a core's time: codecarbon scans all processes, 5 to 50 ms per reading
IDLE_SECONDS = 0.5
OUTSIDE = "other"  # the phase of everything outside a phase


@dataclass(frozen=True)
class MeterInterval:
    """What happened between two readings. Energies are None if codecarbon failed, GPU bytes if no GPU was used."""

    phase: str
    end: float  # seconds since the block began
    seconds: float
    cpu_seconds: float
    metered_seconds: float  # covered by the energies: a reading comes slightly after the end of its interval
    cpu_wh: float | None
    ram_wh: float | None
    gpu_wh: float | None
    process_bytes: int  # peak within the interval
    own_bytes: int  # the same, without pages of files and shared ones
    gpu_bytes: int | None  # at its end
    gpu_reserved_bytes: int | None  # at its end


@dataclass(frozen=True)
class Reading:
    """Sums since the tracker started, in Wh and in grams of CO2 equivalent, and the time of its last reading."""

    at: float
    cpu_wh: float
    ram_wh: float
    gpu_wh: float
    carbon_g: float


class Meter:
    """Measures the block in which it is used.

    Seconds: wall clock; processor time of this process; and compute seconds, by the clock that repeats on a busy
    machine (`helpers.workflow.stopwatch`: the processor's, or the GPU's if torch uses one). The energy tracker needs 1
    to 5 s to detect the hardware; it is started before the clocks and stopped after them.

    Memory: the peak of physical memory (RSS) that the process held during the block, including everything loaded
    before. It is sampled, because the kernel's own peak (``ru_maxrss``) never falls: the loading of a checkpoint, or an
    earlier run in the same process, would count as the memory of every later run. If torch has used a GPU, also the
    peaks that torch allocated and reserved there; ``peak_memory_mb`` is then the allocated peak, otherwise the
    process's.

    Most of a small run's peak is Python, torch and the model, whatever is trained. ``memory_above_model_mb`` is the
    peak above what stood when the block began: enter it with the model loaded. In a process it counts the process's own
    pages only, because those of files (libraries, mapped weights) come in whenever they are first touched. What was
    freed before is first given back to the system, or the block could use it again unseen.

    Energy: only what was measured. RAPL measures the CPU if it is readable, NVML a GPU; both measure the whole device,
    so nothing else should run there; a shared GPU causes a warning. ``energy_wh`` is their sum, or None without a
    meter. ``energy_estimate_wh`` is codecarbon's own sum of CPU + RAM + GPU, each with its mode. Without RAPL, it
    multiplies the CPU's rated power (TDP) by the load from this process and its children; RAM is always estimated, at
    demo size as a constant 10 W. Such a sum is hardly more than the time, told twice. The idle baseline is the power
    during the ``idle_seconds`` before the block, with the load from other work.

    Carbon: measured energy times the average carbon intensity of ``country``'s electricity (ISO code), from
    codecarbon's tables. The country is a setting: nobody checks where a cloud's machine is.

    Raises ``RuntimeError`` on entry if codecarbon cannot start: better before a training than after it.
    """

    def __init__(self, country: str = "KOR", idle_seconds: float = IDLE_SECONDS) -> None:
        self._country, self._idle_seconds = country, idle_seconds
        self._finished = False

    def __enter__(self) -> Self:
        self._tracker = _start_tracker(self._country)
        self._begun_with = read_tracker(self._tracker)  # the first reading takes half a second to load tables
        self._shared = gpu_neighbours()
        if self._shared:
            warnings.warn(
                f"{self._shared} other process(es) use the GPU: its energy is the whole device's, theirs included. "
                "Run alone on it to compare costs",
                stacklevel=2,
            )
        self._idle = self._baseline()
        _return_freed_memory()
        self._sampler = _Sampler(self._tracker)
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sampler.stop()
        self._clock = clock()
        self._modes = energy_modes(self._tracker._hardware)
        self._rated = next((d._tdp for d in self._tracker._hardware if hasattr(d, "_tdp")), None)
        self._last = read_tracker(self._tracker)
        self._tracker.stop()
        self._finished = True

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge the block to the phase of that name; using a name again adds to it. Phases do not nest."""
        if self._sampler.phase != OUTSIDE:
            raise RuntimeError(f"phase {name!r} begins inside {self._sampler.phase!r}; end that one first")
        self._sampler.enter(name)
        try:
            yield
        finally:
            self._sampler.enter(OUTSIDE)

    def record(self, of: str | None = None) -> dict[str, Any]:
        """The measurements as plain values; the headline numbers are those of phase ``of``, or of the whole block.

        Raises ``RuntimeError`` before the block has ended and ``ValueError`` for an unknown phase.
        """
        intervals = self._intervals()
        phases = list(dict.fromkeys(interval.phase for interval in intervals))
        if of is not None and of not in phases:
            raise ValueError(f"there was no phase {of!r}; the phases were {', '.join(phases)}")
        by_phase = {name: self._costs([i for i in intervals if i.phase == name], name) for name in phases}
        return {
            **(by_phase[of] if of else self._costs(intervals)),
            **self._circumstances(),
            "phases": by_phase if phases != [OUTSIDE] else {},
        }

    def samples(self) -> list[dict[str, Any]]:
        """Power (W) and memory (MB) over time: one row about every two seconds, and one at each change of phase."""
        return [_sample(interval) for interval in self._intervals() if interval.metered_seconds > 0]

    def write_samples(self, path: str | Path) -> Path:
        """Write `samples` as a parquet file, about 40 bytes per row."""
        import pandas

        rows = pandas.DataFrame(self.samples())
        numbers = rows.columns.difference(["phase"])
        rows[numbers] = rows[numbers].astype("float32")
        with atomic_write(path) as temporary:
            rows.to_parquet(temporary, index=False, compression="zstd")
        return Path(path)

    def _intervals(self) -> list[MeterInterval]:
        if not self._finished:
            raise RuntimeError(
                "nothing has been measured yet: leave the `with Meter()` block before asking for its record"
            )
        return self._sampler.intervals

    def _costs(self, intervals: Sequence[MeterInterval], phase: str | None = None) -> dict[str, Any]:
        process = max(interval.process_bytes for interval in intervals)
        own = max(interval.own_bytes for interval in intervals) - self._sampler.own_begin
        allocated, reserved = self._sampler.gpu_peaks(phase)
        above = own if allocated is None else allocated - self._sampler.gpu_begin
        parts = {part: total(intervals, f"{part}_wh") for part in ("cpu", "ram", "gpu")}
        energy, factor = measured_energy(parts, self._modes), self._carbon_per_wh()
        return {
            "seconds": round(sum(interval.seconds for interval in intervals), 3),
            "cpu_seconds": round(sum(interval.cpu_seconds for interval in intervals), 3),
            "compute_seconds": round(self._sampler.compute_seconds(phase), 3),
            "compute_of": self._clock,
            "peak_memory_mb": round((process if allocated is None else allocated) / MB, 1),
            "memory_above_model_mb": round(max(0, above) / MB, 1),
            "memory_of": "process" if allocated is None else "GPU",
            "peak_process_mb": round(process / MB, 1),
            "peak_gpu_mb": None if allocated is None else round(allocated / MB, 1),
            "peak_gpu_reserved_mb": None if reserved is None else round(reserved / MB, 1),
            "energy_wh": energy,
            "energy_estimate_wh": _sum(parts.values()),
            **{f"{part}_wh": energy for part, energy in parts.items()},
            "carbon_g": None if energy is None or factor is None else energy * factor,
        }

    def _circumstances(self) -> dict[str, Any]:
        factor = self._carbon_per_wh()
        return {
            "energy_source": energy_source(self._modes) if self._last else "not measured",
            "energy_modes": self._modes if self._last else dict.fromkeys(self._modes, "not measured"),
            "cpu_rated_w": self._rated,
            "carbon_country": self._country,
            "carbon_g_per_kwh": None if factor is None else round(1000 * factor, 1),
            "idle": self._idle,
            "gpu_shared_with": self._shared,
            "hardware": hardware(),
        }

    def _carbon_per_wh(self) -> float | None:
        """Grams per watt-hour, from the tracker's own sums, which use codecarbon's tables."""
        used = self._last or self._begun_with
        energy = used.cpu_wh + used.ram_wh + used.gpu_wh if used else 0
        return used.carbon_g / energy if used and energy else None

    def _baseline(self) -> dict[str, Any] | None:
        if not self._idle_seconds:
            return None
        psutil.cpu_percent()  # starts its interval
        before, begin = read_tracker(self._tracker), time.perf_counter()
        time.sleep(self._idle_seconds)
        after, seconds = read_tracker(self._tracker), time.perf_counter() - begin
        powers = {
            f"{part}_w": round((getattr(after, f"{part}_wh") - getattr(before, f"{part}_wh")) * 3600 / seconds, 2)
            for part in ("cpu", "ram", "gpu")
            if before and after
        }
        return {"seconds": round(seconds, 3), **powers, "machine_load_percent": psutil.cpu_percent()}


def total(intervals: Sequence[MeterInterval], part: str) -> float | None:
    """The sum of one of the energies; None if it is unknown for any interval."""
    return _sum(getattr(interval, part) for interval in intervals)


def _sum(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def measured_energy(parts: Mapping[str, float | None], modes: Mapping[str, str]) -> float | None:
    """The sum of the parts (cpu, ram, gpu) that a meter measured; None if none was, or if one of them is unknown."""
    measured = [energy for part, energy in parts.items() if modes[part].startswith("measured")]
    return _sum(measured) if measured else None


def _sample(interval: MeterInterval) -> dict[str, Any]:
    def watts(wh: float | None) -> float | None:
        return None if wh is None else wh * 3600 / interval.metered_seconds

    return {
        "seconds": interval.end,
        "phase": interval.phase,
        "cpu_w": watts(interval.cpu_wh),
        "ram_w": watts(interval.ram_wh),
        "gpu_w": watts(interval.gpu_wh),
        "cores_busy": interval.cpu_seconds / interval.seconds if interval.seconds else 0.0,
        "process_mb": interval.process_bytes / MB,
        "gpu_mb": None if interval.gpu_bytes is None else interval.gpu_bytes / MB,
        "gpu_reserved_mb": None if interval.gpu_reserved_bytes is None else interval.gpu_reserved_bytes / MB,
    }


def _return_freed_memory() -> None:
    """Give the system back what this process has freed, where the C library can (glibc)."""
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


class Resident:
    """The physical memory (RSS) of this process, and the part of it that is its own: both in bytes.

    Pages of files and shared memory are not its own.

    They are read twenty times per second. On Linux this is one read of a file that stays open. psutil reopens it each
    time. Each of its system calls releases the interpreter's lock, and whenever this thread takes it back, the
    computing thread is held up. Elsewhere both are the RSS.
    """

    def __init__(self) -> None:
        there = Path("/proc/self/statm").is_file()
        self._file = os.open("/proc/self/statm", os.O_RDONLY) if there else None
        self._page, self._process = os.sysconf("SC_PAGE_SIZE") if there else 0, psutil.Process()

    def read(self) -> tuple[int, int]:
        """The current values."""
        if self._file is None:
            resident = self._process.memory_info().rss
            return resident, resident
        resident, of_files = map(int, os.pread(self._file, 64, 0).split()[1:3])
        return resident * self._page, (resident - of_files) * self._page

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        if self._file is not None:
            os.close(self._file)


class _Sampler(threading.Thread):
    """Divides the time into intervals of `POWER_SECONDS`: longer if readings are expensive, shorter if the phase
    changes.

    It alone drives the tracker, under a lock. If codecarbon's scheduler ran as well, a reading at the end of a phase
    could count the same second twice.
    """

    def __init__(self, tracker: Any) -> None:
        super().__init__(name="meter", daemon=True)
        self.tracker, self.phase = tracker, OUTSIDE
        self.intervals: list[MeterInterval] = []
        self._gpu: dict[str, tuple[int, int]] = {}  # peaks by phase
        self._computed: dict[str, float] = {}  # compute seconds by phase
        self._resident = Resident()
        self._pause = POWER_SECONDS
        self._lock, self._end = threading.Lock(), threading.Event()

    def start(self) -> None:
        _reset_gpu_peaks()
        self._before = read_tracker(self.tracker)
        self._peak, self._own_peak = self._resident.read()
        self.own_begin, self.gpu_begin = self._own_peak, _on_gpus("memory_allocated") or 0
        self._watch = Stopwatch()
        self._begin = self._cut = time.perf_counter()
        self._cpu = time.process_time()
        super().start()

    def run(self) -> None:
        while not self._end.wait(1 / MEMORY_SAMPLES):
            with self._lock:
                self._see_memory()
                if time.perf_counter() - self._cut >= self._pause:
                    self._close()

    def enter(self, phase: str) -> None:
        """Close the interval, and continue in another phase."""
        with self._lock:
            self._end_phase()
            self.phase = phase

    def stop(self) -> None:
        self._end.set()
        self.join()
        with self._lock:
            self._end_phase()
        self._resident.close()

    def gpu_peaks(self, phase: str | None) -> tuple[int | None, int | None]:
        """Peak bytes allocated and reserved, summed over the GPUs: of one phase, or the largest of all phases."""
        peaks = [peak for name, peak in self._gpu.items() if phase in (None, name)]
        return (max(p[0] for p in peaks), max(p[1] for p in peaks)) if peaks else (None, None)

    def compute_seconds(self, phase: str | None) -> float:
        """Of one phase, or of the whole block."""
        return sum(seconds for name, seconds in self._computed.items() if phase in (None, name))

    def _end_phase(self) -> None:
        seconds = self._watch.read().compute_seconds
        self._close()
        self._keep_gpu_peaks()
        self._computed[self.phase] = self._computed.get(self.phase, 0.0) + seconds
        self._watch = Stopwatch()

    def _see_memory(self) -> None:
        resident, own = self._resident.read()
        self._peak, self._own_peak = max(self._peak, resident), max(self._own_peak, own)

    def _close(self) -> None:
        now, cpu = time.perf_counter(), time.process_time()
        self._see_memory()
        begin = time.thread_time()
        after = read_tracker(self.tracker)
        self._pause = max(POWER_SECONDS, (time.thread_time() - begin) / READING_SHARE)
        self.intervals.append(
            MeterInterval(
                phase=self.phase,
                end=now - self._begin,
                seconds=now - self._cut,
                cpu_seconds=cpu - self._cpu,
                **_difference(self._before, after),
                process_bytes=self._peak,
                own_bytes=self._own_peak,
                gpu_bytes=_on_gpus("memory_allocated"),
                gpu_reserved_bytes=_on_gpus("memory_reserved"),
            )
        )
        self._cut, self._cpu, self._before = now, cpu, after
        self._peak, self._own_peak = self._resident.read()

    def _keep_gpu_peaks(self) -> None:
        allocated, reserved = _on_gpus("max_memory_allocated"), _on_gpus("max_memory_reserved")
        if allocated is not None and reserved is not None:
            before = self._gpu.get(self.phase, (0, 0))
            self._gpu[self.phase] = (max(before[0], allocated), max(before[1], reserved))
            _reset_gpu_peaks()


def _difference(before: Reading | None, after: Reading | None) -> dict[str, Any]:
    parts = ("cpu_wh", "ram_wh", "gpu_wh")
    if before is None or after is None:
        return {"metered_seconds": 0.0, **dict.fromkeys(parts)}
    energies = {part: getattr(after, part) - getattr(before, part) for part in parts}
    return {"metered_seconds": after.at - before.at, **energies}


def _on_gpus(question: str) -> int | None:
    """The bytes that this function of ``torch.cuda`` returns, summed over the GPUs; None if torch uses no GPU."""
    cuda = cuda_in_use()
    return sum(getattr(cuda, question)(device) for device in range(cuda.device_count())) if cuda else None


def _reset_gpu_peaks() -> None:
    if cuda := cuda_in_use():
        for device in range(cuda.device_count()):
            cuda.reset_peak_memory_stats(device)


def gpu_neighbours() -> int | None:
    """How many other processes compute on the NVIDIA GPUs that this process sees; None if there is no GPU.

    In a container the driver may know this process by a different id. So if torch uses the GPU here and this process is
    not listed, one of the listed processes is taken to be this one.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver or no GPU: each raises a different exception
        return None
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = named.split(",") if named else map(str, range(pynvml.nvmlDeviceGetCount()))
    by_index, by_name = pynvml.nvmlDeviceGetHandleByIndex, pynvml.nvmlDeviceGetHandleByUUID
    handles = [by_index(int(card)) if card.strip().isdigit() else by_name(card.strip()) for card in visible]
    found = {process.pid for handle in handles for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)}
    hidden = os.getpid() not in found and cuda_in_use() is not None
    return max(0, len(found - {os.getpid()}) - hidden)


def _start_tracker(country: str) -> Any:
    """A started tracker of codecarbon. It swallows its own exceptions, so this checks that it has started."""
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.input import DataSource

    if country not in DataSource().get_global_energy_mix_data():
        raise ValueError(f"country is {country!r}; it must be an ISO code of three letters, such as 'KOR'")
    logging.getLogger("codecarbon").setLevel(logging.ERROR)  # `log_level` below is too late for the first messages
    with _no_configuration():
        tracker = OfflineEmissionsTracker(
            country_iso_code=country,
            output_methods=[],  # no file, no server
            emissions_endpoint=None,
            measure_power_secs=1_000_000,  # never on its own: `_Sampler` asks
            tracking_mode="process",  # of two simultaneous runs, neither is charged with both
            allow_multiple_runs=True,  # otherwise a lock file stops the second run from measuring
            log_level="error",
        )
    if getattr(tracker, "_external_conf", None) != {}:
        raise RuntimeError(
            "codecarbon has read a configuration of its own, which could change every number; this version of it is "
            "not known here: install the one of requirements.txt"
        )
    tracker.start()
    if getattr(tracker, "_start_time", None) is None:
        raise RuntimeError("codecarbon did not start; its own message is above. Try `codecarbon detect` in a shell")
    # On its own it also scans all processes once per second, which costs more than everything else. Only a GPU without
    # an energy counter benefits: the processor's load always covers the time since the last reading, however long ago
    monitor = getattr(tracker, "_scheduler_monitor_power", None)
    if monitor is not None and "power" not in _gpu_mode(tracker._hardware):
        monitor.stop()
    return tracker


@contextmanager
def _no_configuration() -> Iterator[None]:
    """Keep the user's codecarbon settings out of the measurement: files in the home and working folders, and variables.

    A power usage effectiveness, a forced power or a cloud's region would change the energies, and the record would
    still call them measured or estimated.
    """
    from codecarbon import emissions_tracker

    read = emissions_tracker.get_hierarchical_config
    emissions_tracker.get_hierarchical_config = dict
    try:
        yield
    finally:
        emissions_tracker.get_hierarchical_config = read


def read_tracker(tracker: Any) -> Reading | None:
    """The tracker's current sums; None if codecarbon has failed, which must not end the run."""
    carbon = tracker.flush()  # returns None after an exception that it has swallowed
    if carbon is None:
        return None
    return Reading(
        at=tracker._last_measured_time,
        cpu_wh=1000 * tracker._total_cpu_energy.kWh,
        ram_wh=1000 * tracker._total_ram_energy.kWh,
        gpu_wh=1000 * tracker._total_gpu_energy.kWh,
        carbon_g=1000 * carbon,
    )


def energy_modes(devices: Sequence[Any]) -> dict[str, str]:
    """How codecarbon gets each component's energy, from its hardware objects: measured (by what) or estimated."""
    kinds = {"intel_rapl": "measured (RAPL)", "cpu_load": "estimated (TDP)", "constant": "estimated (TDP)"}
    modes = [device._mode for device in devices if hasattr(device, "_mode")]
    cpu = kinds.get(modes[0], f"measured ({modes[0]})") if modes else "estimated (TDP)"
    return {"cpu": cpu, "ram": "estimated (size)", "gpu": _gpu_mode(devices)}


def _gpu_mode(devices: Sequence[Any]) -> str:
    """By the GPUs' own energy counters or, if a GPU has none, by its power at each reading."""
    groups = [device for device in devices if type(device).__name__ == "GPU"]
    if not groups:
        return "none"
    gpus = [gpu for group in groups for gpu in getattr(getattr(group, "devices", None), "devices", ())]
    counted = not any(getattr(gpu, "_use_power_fallback", False) for gpu in gpus)
    return "measured (NVML counter)" if counted else "measured (NVML power, sampled)"


def energy_source(modes: dict[str, str]) -> str:
    """What was measured and how, for a figure's axis; without a meter, why there is no energy."""
    how = "its own counter" if "counter" in modes["gpu"] else "its power, sampled"
    cpu = [f"CPU {modes['cpu']}"] if modes["cpu"].startswith("measured") else []
    gpu = [f"GPU measured ({how})"] if modes["gpu"].startswith("measured") else []
    return "; ".join([*cpu, *gpu]) or NO_METER
