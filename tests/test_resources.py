"""The meter sees time, memory and energy of one run alone, and says nothing of whose machine it was."""

import json
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from helpers.schemas import NO_METER
from helpers.training import meter as resources
from helpers.training.flops import Traffic, Weights, training_flops, weights_of
from helpers.training.meter import Meter, energy_modes, energy_source

SOURCE = str(Path(resources.__file__).parents[2])
MEASURES = {
    *("seconds", "cpu_seconds", "compute_seconds", "compute_of", "peak_memory_mb", "memory_above_model_mb"),
    *("memory_of", "peak_process_mb", "peak_gpu_mb", "peak_gpu_reserved_mb"),
    *("energy_wh", "energy_estimate_wh", "cpu_wh", "ram_wh", "gpu_wh", "carbon_g"),
}
SOURCES = {
    *("energy_source", "energy_modes", "cpu_rated_w", "carbon_country", "carbon_g_per_kwh"),
    *("idle", "gpu_shared_with", "hardware", "phases"),
}


def fresh_memory(size):
    """Pages that the process did not hold before; an array could come out of memory that an earlier test gave back."""
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block.write(b"1" * size)
    return block


def test_the_meter_sees_time_memory_and_energy():
    with Meter() as idle:
        time.sleep(0.2)
    with Meter(idle_seconds=0) as busy:
        block = fresh_memory(100_000_000)
        time.sleep(0.2)
        block.close()
    first, second = idle.record(), busy.record()
    assert set(first) == MEASURES | SOURCES
    assert 0.2 <= first["seconds"] < 1  # the start-up of the energy tracker, over a second, is not in it
    assert second["peak_memory_mb"] - first["peak_memory_mb"] == pytest.approx(100, abs=20)
    assert second["memory_above_model_mb"] == pytest.approx(100, abs=20) and first["memory_above_model_mb"] < 20
    assert first["energy_estimate_wh"] == pytest.approx(first["cpu_wh"] + first["ram_wh"] + first["gpu_wh"]) != 0
    assert first["idle"]["seconds"] >= 0.5
    assert {"cpu_w", "ram_w", "gpu_w", "machine_load_percent"} < set(first["idle"])
    assert second["idle"] is None


def test_what_was_loaded_before_is_not_memory_above_the_model():
    loaded = fresh_memory(50_000_000)
    with Meter(idle_seconds=0) as meter:
        block = fresh_memory(30_000_000)
        time.sleep(0.2)
        block.close()
    loaded.close()
    assert meter.record()["memory_above_model_mb"] == pytest.approx(30, abs=10)


def test_compute_seconds_are_the_processors_and_sleep_costs_none():
    with Meter(idle_seconds=0) as meter, meter.phase("train"):
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
        time.sleep(0.5)
    record = meter.record(of="train")
    assert record["compute_seconds"] == pytest.approx(record["cpu_seconds"], abs=0.05)
    assert 0.2 <= record["compute_seconds"] < record["seconds"] - 0.3
    assert record["compute_of"] == "CPU"


def test_without_a_meter_energy_is_empty_with_the_reason_and_the_estimate_stays_apart(monkeypatch):
    estimated = {"cpu": "estimated (TDP)", "ram": "estimated (size)", "gpu": "none"}
    monkeypatch.setattr(resources, "energy_modes", lambda _: estimated)
    with Meter(idle_seconds=0) as meter:
        time.sleep(0.1)
    record = meter.record()
    assert (record["energy_wh"], record["carbon_g"], record["energy_source"]) == (None, None, NO_METER)
    assert record["energy_estimate_wh"] > 0 and record["energy_modes"] == estimated


def test_only_what_a_meter_measured_is_energy():
    parts = {"cpu": 1.0, "ram": 5.0, "gpu": 3.0}
    rapl = {"cpu": "measured (RAPL)", "ram": "estimated (size)", "gpu": "measured (NVML counter)"}
    assert resources.measured_energy(parts, rapl) == 4.0
    assert resources.measured_energy(parts, rapl | {"cpu": "estimated (TDP)"}) == 3.0
    assert resources.measured_energy(parts, rapl | {"cpu": "estimated (TDP)", "gpu": "none"}) is None
    assert resources.measured_energy(parts | {"gpu": None}, rapl) is None


def test_the_peak_of_a_run_is_not_that_of_an_earlier_one():
    with Meter(idle_seconds=0) as large:
        block = fresh_memory(100_000_000)
        time.sleep(0.2)  # a peak shorter than a twentieth of a second can be missed
        block.close()
    with Meter(idle_seconds=0) as small:
        time.sleep(0.1)
    assert large.record()["peak_memory_mb"] - small.record()["peak_memory_mb"] > 80


def test_the_record_names_no_host_and_no_home():
    with Meter(idle_seconds=0) as meter:
        pass
    text = json.dumps(meter.record())
    assert str(Path.home()) not in text
    assert socket.gethostname() not in text


def test_two_meters_at_once_both_measure():
    with Meter(idle_seconds=0) as outer, Meter(idle_seconds=0) as inner:
        time.sleep(0.2)
    assert inner.record()["energy_estimate_wh"] > 0
    assert outer.record()["energy_estimate_wh"] > 0


def test_nothing_is_sent_printed_or_left_behind(monkeypatch, capfd, tmp_path):
    def refuse(*_):
        raise AssertionError("the meter used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    with Meter() as meter:
        time.sleep(0.1)
    assert meter.record()["energy_estimate_wh"] > 0
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "meter"]


HOSTILE = {
    "pue": "50",
    "wue": "3",
    "force_cpu_power": "900",
    "force_ram_power": "900",
    "force_mode_cpu_load": "true",
    "tracking_mode": "machine",
    "gpu_ids": "7",
    "cloud_provider": "aws",
    "cloud_region": "us-east-1",
    "region": "california",
    "country_iso_code": "USA",
    "rapl_include_dram": "true",
    "measure_power_secs": "1",
    "save_to_file": "true",
    "output_methods": "csv",
    "api_key": "secret",
}


@pytest.mark.parametrize("place", ["home", "working folder", "variables", "lower case"])
def test_the_users_own_settings_of_codecarbon_change_nothing(monkeypatch, tmp_path, place):
    plain = resources._start_tracker("KOR")
    lines = "[codecarbon]\n" + "".join(f"{name} = {value}\n" for name, value in HOSTILE.items())
    if place == "home":
        monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    if place in ("home", "working folder"):
        (tmp_path / ".codecarbon.config").write_text(lines)
    for name, value in HOSTILE.items() if place in ("variables", "lower case") else ():
        variable = f"CODECARBON_{name.upper()}"
        monkeypatch.setenv(variable if place == "variables" else variable.lower(), value)
    tracker = resources._start_tracker("KOR")
    for name in HOSTILE:
        assert getattr(tracker, f"_{name}", None) == getattr(plain, f"_{name}", None), name
    assert [type(device) for device in tracker._hardware] == [type(device) for device in plain._hardware]
    plain.stop(), tracker.stop()
    assert {path.name for path in tmp_path.iterdir()} <= {".codecarbon.config"}


def test_a_codecarbon_that_reads_its_settings_in_another_way_is_refused(monkeypatch):
    from codecarbon import OfflineEmissionsTracker

    def elsewhere(tracker, **_):
        tracker._external_conf = {"pue": "50"}

    monkeypatch.setattr(OfflineEmissionsTracker, "__init__", elsewhere)
    with pytest.raises(RuntimeError, match="codecarbon has read a configuration of its own"):
        resources._start_tracker("KOR")


def test_an_error_inside_the_block_passes_through():
    with pytest.raises(ZeroDivisionError), Meter() as meter:
        1 / 0  # noqa: B018
    assert meter.record()["seconds"] >= 0


def test_an_unknown_country_is_refused():
    with pytest.raises(ValueError, match="country is 'Korea'"), Meter("Korea"):
        pass


def test_a_tracker_that_does_not_start_is_said_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr("codecarbon.OfflineEmissionsTracker.start", lambda _: None)  # it swallows what goes wrong
    with pytest.raises(RuntimeError, match="codecarbon did not start; its own message is above"):
        Meter().__enter__()


def test_there_is_no_record_before_the_end():
    with pytest.raises(RuntimeError, match="leave the `with Meter"):
        Meter().record()


def test_on_a_gpu_the_memory_is_what_torch_allocated_there(monkeypatch):
    reset, clock = [], iter([0, 250, 250, 250])  # milliseconds: of the block, and of nothing after it

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = next(clock)

        def synchronize(self):
            pass

        def elapsed_time(self, later):
            return later.at - self.at

    cuda = SimpleNamespace(
        Event=Event,
        is_initialized=lambda: True,
        device_count=lambda: 2,
        reset_peak_memory_stats=reset.append,
        max_memory_allocated=lambda device: (device + 1) * 1_000_000_000,
        max_memory_reserved=lambda device: 2_000_000_000,
        memory_allocated=lambda device: 1_000_000_000,
        memory_reserved=lambda device: 0,
        get_device_name=lambda device: "Some GPU",
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, get_num_threads=lambda: 3))
    with Meter() as meter:
        pass
    record = meter.record()
    assert reset[:2] == [0, 1]
    assert (record["peak_memory_mb"], record["memory_of"]) == (3000.0, "GPU")
    assert (record["peak_gpu_mb"], record["peak_gpu_reserved_mb"]) == (3000.0, 4000.0)
    assert record["memory_above_model_mb"] == 1000.0  # 3 GB at the peak, 2 when the block began
    assert (record["compute_seconds"], record["compute_of"]) == (0.25, "GPU")
    assert record["peak_process_mb"] > 0
    assert "3 threads used, Some GPU + Some GPU" in record["hardware"]


def test_phases_are_told_apart_and_add_up():
    with Meter(idle_seconds=0) as meter:
        with meter.phase("load"):
            block = fresh_memory(100_000_000)
            time.sleep(0.2)
            block.close()
        for _ in range(2):
            with meter.phase("train"):
                time.sleep(0.15)
    whole, train = meter.record(), meter.record(of="train")
    assert list(whole["phases"]) == ["other", "load", "train"]
    assert train["seconds"] == whole["phases"]["train"]["seconds"] == pytest.approx(0.3, abs=0.15)
    assert whole["phases"]["load"]["peak_process_mb"] - train["peak_process_mb"] > 80
    for part in ("seconds", "compute_seconds", "energy_estimate_wh"):
        assert sum(phase[part] for phase in whole["phases"].values()) == pytest.approx(whole[part], abs=2e-3)
    with pytest.raises(ValueError, match="no phase 'lunch'; the phases were other, load, train"):
        meter.record(of="lunch")


def test_phases_do_not_nest():
    with (
        Meter(idle_seconds=0) as meter,
        pytest.raises(RuntimeError, match="'b' begins inside 'a'"),
        meter.phase("a"),
        meter.phase("b"),
    ):
        pass


def test_readings_that_cost_much_are_made_less_often(monkeypatch):
    def dear(_):
        until = time.thread_time() + 0.03
        while time.thread_time() < until:
            pass

    monkeypatch.setattr(resources, "read_tracker", dear)
    sampler = resources._Sampler(None)
    sampler.start()
    sampler.enter("train")
    assert sampler._pause >= 6  # 30 ms are half a percent of 6 s
    sampler.stop()


def test_power_and_memory_over_time_are_kept_in_a_small_file(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "READING_SHARE", 1.0)  # on a busy machine too
    with Meter(idle_seconds=0) as meter, meter.phase("train"):
        time.sleep(1.3 * resources.POWER_SECONDS)
    rows = pd.read_parquet(meter.write_samples(tmp_path / "samples.parquet"))
    assert (tmp_path / "samples.parquet").stat().st_size < 10_000
    assert {"seconds", "phase", "cpu_w", "ram_w", "gpu_w", "process_mb", "gpu_mb", "cores_busy"} <= set(rows)
    assert rows["seconds"].is_monotonic_increasing
    assert (rows["phase"] == "train").sum() >= 2
    assert rows["ram_w"].max() < 1000  # watts, and not watt-hours or kilowatts


def test_a_watt_is_a_joule_a_second():
    half = resources.MeterInterval("train", 2.0, 2.0, 1.0, 0.5, 0.001, 0.002, 0.0, 5_000_000, 0, None, None)
    sample = resources._sample(half)
    assert sample["cpu_w"] == pytest.approx(7.2)  # 0.001 Wh are 3.6 J, in half a second
    assert (sample["cores_busy"], sample["process_mb"], sample["gpu_mb"]) == (0.5, 5.0, None)


def test_a_gpu_that_others_use_is_warned_of(monkeypatch):
    monkeypatch.setattr(resources, "gpu_neighbours", lambda: 2)
    with pytest.warns(UserWarning, match="2 other process"), Meter(idle_seconds=0) as meter:
        pass
    assert meter.record()["gpu_shared_with"] == 2


def test_other_processes_on_the_gpu_are_counted_and_not_this_one(monkeypatch):
    pids = [os.getpid(), 7, 8]
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetHandleByUUID={"GPU-b": [*pids]}.get,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [SimpleNamespace(pid=pid) for pid in pids],
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert resources.gpu_neighbours() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    nvml.nvmlDeviceGetHandleByIndex = lambda index: [None, pids[:2]][index]  # nobody asks about card 0
    nvml.nvmlDeviceGetComputeRunningProcesses = lambda handle: [SimpleNamespace(pid=pid) for pid in handle]
    assert resources.gpu_neighbours() == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b")
    assert resources.gpu_neighbours() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    pids[:] = [4711]  # this process under the number that it has outside its container
    monkeypatch.setattr(resources, "cuda_in_use", lambda: object())
    assert resources.gpu_neighbours() == 0


def test_the_mode_of_each_component_is_read_from_the_trackers_hardware():
    class GPU:
        pass

    estimate = SimpleNamespace(_mode="cpu_load")
    assert energy_modes([SimpleNamespace(_mode="intel_rapl")])["cpu"] == "measured (RAPL)"
    assert energy_modes([object(), estimate]) == {"cpu": "estimated (TDP)", "ram": "estimated (size)", "gpu": "none"}
    with_gpu = energy_modes([estimate, GPU()])
    assert with_gpu["gpu"] == "measured (NVML counter)"
    assert energy_source(with_gpu) == "GPU measured (its own counter)"
    assert energy_source(with_gpu | {"cpu": "measured (RAPL)", "gpu": "none"}) == "CPU measured (RAPL)"
    assert energy_source(with_gpu | {"gpu": "none"}) == NO_METER


GPU_OF_100_WATTS = """
import os, time
class NVMLError(Exception): pass
class NVMLError_NotSupported(NVMLError): pass
class Thing:
    def __init__(self, **values): self.__dict__.update(values)
NVML_TEMPERATURE_GPU = 0
BEGIN = time.perf_counter()
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetTotalEnergyConsumption(handle):
    if os.environ.get("WITHOUT_COUNTER"):
        raise NVMLError("not supported")
    return int(1000 * 100 * (time.perf_counter() - BEGIN))  # millijoules
def nvmlDeviceGetPowerUsage(handle): return 100_000  # milliwatts
def nvmlDeviceGetHandleByUUID(uuid): return 0
def nvmlDeviceGetEnforcedPowerLimit(handle): return 300_000
def nvmlDeviceGetName(handle): return "Stand-in GPU"
def nvmlDeviceGetUUID(handle): return "GPU-0"
def nvmlDeviceGetMemoryInfo(handle): return Thing(total=1, used=0, free=1)
def nvmlDeviceGetTemperature(handle, kind): return 40
def nvmlDeviceGetUtilizationRates(handle): return Thing(gpu=50)
def nvmlDeviceGetComputeMode(handle): return 0
def nvmlDeviceGetGraphicsRunningProcesses(handle): return []
def nvmlDeviceGetComputeRunningProcesses(handle):
    return [Thing(pid=os.getpid(), usedGpuMemory=0), Thing(pid=1, usedGpuMemory=0)]
"""
METERED = """
import json, time, warnings
from helpers.training.meter import Meter
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    with Meter() as meter, meter.phase("train"):
        time.sleep(2.5)
print(json.dumps({"record": meter.record("train"), "samples": meter.samples(), "said": [str(s.message) for s in said]}))
"""


@pytest.mark.parametrize(
    ("counter", "mode"), [(True, "measured (NVML counter)"), (False, "measured (NVML power, sampled)")]
)
def test_a_gpus_energy_is_its_counters_and_where_it_has_none_its_power(tmp_path, counter, mode):
    """codecarbon's own way to a GPU, with a driver of ours: no GPU is needed to see that the numbers arrive."""
    (tmp_path / "pynvml.py").write_text(GPU_OF_100_WATTS)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    found = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{SOURCE}", "WITHOUT_COUNTER": "" if counter else "yes"}
    found["PATH"] = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run([sys.executable, "-c", METERED], env=found, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    record = seen["record"]
    assert record["energy_modes"]["gpu"] == mode
    assert record["gpu_wh"] * 3600 / record["seconds"] == pytest.approx(100, rel=0.05)
    measured = "measured" in record["energy_modes"]["cpu"]  # RAPL, on some machines
    assert record["energy_wh"] == pytest.approx(record["gpu_wh"] + record["cpu_wh"] * measured)
    assert record["idle"]["gpu_w"] == pytest.approx(100, rel=0.1)
    assert [sample["gpu_w"] for sample in seen["samples"]][-1] == pytest.approx(100, rel=0.2)
    assert record["gpu_shared_with"] == 1
    assert any("1 other process(es) use the GPU" in message for message in seen["said"])


def test_a_tracker_that_fails_on_the_way_costs_the_energy_and_not_the_run(monkeypatch):
    with Meter(idle_seconds=0) as meter, meter.phase("train"):
        monkeypatch.setattr(meter._tracker, "flush", lambda: None)
        time.sleep(0.1)
    record = meter.record(of="train")
    assert record["seconds"] >= 0.1
    assert (record["energy_wh"], record["carbon_g"], record["energy_source"]) == (None, None, "not measured")


def test_operations_are_counted_by_the_usual_rule():
    frozen = Weights(language_model=10, adapters=1, projector=5, projector_trained=True, vision_tower=7)
    assert training_flops(frozen, text_tokens=3, image_tokens=0, patches=0)["flops"] == 3 * (10 * 4 + 1 * 6)
    assert training_flops(frozen, text_tokens=1, image_tokens=2, patches=4) == {
        **{"flops": 138 + 40 + 56, "flops_text_tokens": 46, "flops_image_tokens": 92},
        **{"flops_projector": 2 * 5 * 4, "flops_tower": 4 * 7 * 2},
    }


def test_weights_and_traffic_of_a_real_model_are_counted(model_path):
    from PIL import Image

    from helpers.models.adapters import add_lora, trainable_groups
    from helpers.models.batches import assistant, training_batch, user
    from helpers.models.loading import load_model, load_processor

    model, family = load_model(model_path)
    tuned = add_lora(model, family, 4, 8, 0.0, True, 0)
    weights, trainable = weights_of(tuned, family), trainable_groups(tuned, family)
    assert weights.adapters == trainable["language_model"]
    assert weights.projector_trained and 0 < weights.projector <= trainable["projector"]
    assert 2_000_000 < weights.language_model < 4_000_000  # true shapes: packed, 4-bit weights have half as many
    traffic = Traffic(model.config)
    processor, image = load_processor(model_path), Image.new("RGB", (56, 56))
    chats = [[user("Which one?", image=seen), assistant("Monarch.")] for seen in (True, False)]
    batch = training_batch(processor, chats, [image, None], 4096)
    traffic.add(batch)
    counted = traffic.record()
    assert (counted["samples"], counted["tokens"]) == (2, int(batch["attention_mask"].sum()))
    assert counted["image_tokens"] + counted["text_tokens"] == counted["tokens"]
    assert counted["patches"] == {"qwen2_vl": 64, "llava_next": 32}[family.model_type]  # 8 x 8; two tiles of 4 x 4
    assert counted["supervised_tokens"] == int((batch["labels"] != -100).sum())
    real = batch["attention_mask"].bool()
    row = {key: batch[key][real][None] for key in ("input_ids", "labels")} | {"pixel_values": batch["pixel_values"]}
    packed = Traffic(model.config)
    packed.add(row | {"lengths": tuple(real.sum(dim=1).tolist())})
    assert packed.record() == counted


def test_neither_torch_nor_codecarbon_is_imported_with_the_module():
    code = "import sys, helpers.training.meter, helpers.schemas, helpers.domains.kviscuit\n"
    code += "print([name for name in ('torch', 'codecarbon', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
