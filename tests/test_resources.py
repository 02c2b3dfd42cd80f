"""The meter sees time, memory and energy of one run alone, and says nothing of whose machine it was."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import resources
from helpers.resources import Meter, energy_source

MEASURES = {"seconds", "peak_memory_mb", "energy_wh", "cpu_wh", "ram_wh", "gpu_wh"}
SOURCES = {"memory_of", "energy_source", "hardware"}


def test_the_meter_sees_time_memory_and_energy():
    with Meter() as idle:
        time.sleep(0.2)
    with Meter() as busy:
        block = np.ones(100_000_000, dtype=np.uint8)
        time.sleep(0.2)
        del block
    first, second = idle.record(), busy.record()
    assert set(first) == MEASURES | SOURCES
    assert 0.2 <= first["seconds"] < 1  # the start-up of the energy tracker, over a second, is not in it
    assert second["peak_memory_mb"] - first["peak_memory_mb"] == pytest.approx(100, abs=20)
    assert first["energy_wh"] > 0
    assert first["energy_wh"] == pytest.approx(first["cpu_wh"] + first["ram_wh"] + first["gpu_wh"])
    assert first["energy_source"].startswith(("estimated", "measured"))


def test_the_peak_of_a_run_is_not_that_of_an_earlier_one():
    with Meter() as large:
        block = np.ones(100_000_000, dtype=np.uint8)
        time.sleep(0.2)  # a peak shorter than a twentieth of a second can be missed
        del block
    with Meter() as small:
        time.sleep(0.1)
    assert large.record()["peak_memory_mb"] - small.record()["peak_memory_mb"] > 80


def test_the_record_names_no_host_and_no_home():
    with Meter() as meter:
        pass
    text = json.dumps(meter.record())
    assert str(Path.home()) not in text
    assert socket.gethostname() not in text


def test_two_meters_at_once_both_measure():
    with Meter() as outer, Meter() as inner:
        time.sleep(0.2)
    assert inner.record()["energy_wh"] > 0
    assert outer.record()["energy_wh"] > 0


def test_nothing_is_sent_printed_or_left_behind(monkeypatch, capfd, tmp_path):
    def refuse(*_):
        raise AssertionError("the meter used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    with Meter() as meter:
        time.sleep(0.1)
    assert meter.record()["energy_wh"] > 0
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "peak memory"]


def test_an_error_inside_the_block_passes_through():
    with pytest.raises(ZeroDivisionError), Meter() as meter:
        1 / 0  # noqa: B018
    assert meter.record()["seconds"] >= 0


def test_an_unknown_country_is_refused():
    with pytest.raises(ValueError, match="country is 'Korea'"), Meter("Korea"):
        pass


def test_there_is_no_record_before_the_end():
    with pytest.raises(RuntimeError, match="leave the `with Meter"):
        Meter().record()


def test_on_a_gpu_the_memory_is_what_torch_allocated_there(monkeypatch):
    reset = []
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        reset_peak_memory_stats=reset.append,
        max_memory_allocated=lambda device: (device + 1) * 1_000_000_000,
        get_device_name=lambda device: "Some GPU",
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, get_num_threads=lambda: 3))
    with Meter() as meter:
        pass
    record = meter.record()
    assert reset == [0, 1]
    assert (record["peak_memory_mb"], record["memory_of"]) == (3000.0, "GPU")
    assert "3 threads used, Some GPU + Some GPU" in record["hardware"]


def test_the_source_of_the_energy_is_read_from_the_trackers_hardware():
    class GPU:
        pass

    estimate = SimpleNamespace(_mode="cpu_load")
    assert energy_source([SimpleNamespace(_mode="intel_rapl")]) == "measured (RAPL)"
    assert energy_source([object(), estimate]) == "estimated (TDP)"
    assert energy_source([estimate, GPU()]) == "estimated (TDP); GPU measured (its own counter)"


def test_a_tracker_that_fails_on_the_way_costs_the_energy_and_not_the_run():
    record = resources._energy(SimpleNamespace())
    assert record["energy_wh"] is None
    assert record["energy_source"] == "not measured"


def test_neither_torch_nor_codecarbon_is_imported_with_the_module():
    code = "import sys, helpers.resources, helpers.samples, helpers.domains.kviscuit\n"
    code += "print([name for name in ('torch', 'codecarbon', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
