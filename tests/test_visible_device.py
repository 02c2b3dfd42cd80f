"""Each process sees one card, and two processes at the same time see different ones. None of the cards is real."""

import os
import subprocess
import sys

import pytest
import torch

from helpers.models import visible_device
from helpers.models.loading import device
from helpers.models.visible_device import take_card

JOB = """
import os, torch
torch.cuda.device_count, torch._C._cuda_getDeviceCount = (lambda: 2), (lambda: 1)
from helpers.models.visible_device import take_card
print(take_card(), os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
input()
"""


@pytest.fixture
def cards(monkeypatch, tmp_path):
    """Makes this process see so many cards, under these names."""
    held: list = []
    monkeypatch.setattr(visible_device, "_held", held)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", lambda: 1, raising=False)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")  # restored afterwards
    del os.environ["CUDA_DEVICE_ORDER"]

    def see(number, named=None):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if named is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)

    yield see
    for file in held:
        file.close()


@pytest.mark.parametrize(("number", "named"), [(0, ""), (1, None), (1, "3")])
def test_with_one_card_or_none_nothing_changes(cards, number, named):
    cards(number, named)
    assert take_card() is None
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == named


IN_TURN = [(2, None, "0101"), (3, None, "0120"), (2, "5,7", "5757"), (2, "GPU-a,GPU-b", ["GPU-a", "GPU-b"] * 2)]


@pytest.mark.parametrize(("number", "named", "expected"), IN_TURN)
def test_jobs_take_cards_in_turn_and_share_them_only_when_all_are_taken(cards, number, named, expected):
    for card in expected:
        cards(number, named)  # a further process
        assert take_card() == card
        assert os.environ["CUDA_VISIBLE_DEVICES"] == card
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_the_device_of_a_model_is_the_one_that_was_taken(cards, monkeypatch):
    cards(2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "CUDA_VISIBLE_DEVICES" in os.environ)
    assert device() == torch.device("cuda", 0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_a_card_is_free_again_when_its_process_has_ended(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("CUDA_VISIBLE_DEVICES")

    def start():
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        job = subprocess.Popen([sys.executable, "-c", JOB], env=environment, **pipes)
        return job, job.stdout.readline().split()

    first, seen = start()
    assert seen == ["0", "0"]
    second, seen = start()
    assert seen == ["1", "1"]
    first.kill()
    first.wait()
    third, seen = start()
    assert seen == ["0", "0"]
    for job in (first, second, third):
        job.kill()
        job.communicate()


def test_a_choice_that_comes_too_late_is_an_error(cards, monkeypatch):
    cards(2)
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", lambda: 2, raising=False)
    with pytest.raises(RuntimeError, match=r"CUDA had started with 2 cards in sight .*: restart the kernel, or"):
        take_card()
