"""Kept kernels: what a later run makes in one is what it makes in a new one; and a kernel is never kept by mistake."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat import v4

from helpers import execute, notebooks, paths
from helpers.kept import borrowing, client
from helpers.profiles import load_profile

sys.path.insert(0, str(Path(__file__).parent))
from waiting import WAIT, eventually

pytestmark = pytest.mark.skipif(not client.can_keep(), reason="no kept kernels here: needs Linux")
TINY = "data/models/tiny-qwen2-vl"
MAY_LOAD = "if False:\n    import helpers.models.loading"  # makes a notebook one of those that take part
SHOW = "import os, sys\nprint('pid', os.getpid(), 'left' in dir(), os.environ.get('WORD'))\nleft = 1\nseed"


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[client.Keeper]:
    for name, value in execute.environment(1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WARM_START", "off")
    found = client.Keeper(os.environ, tmp_path / "keeper.log")
    monkeypatch.setenv(client.VARIABLE, found.folder)
    monkeypatch.setenv("KEEP_MODEL", "")  # the runs of this process set it, and it is taken back
    yield found
    found.stop()
    assert (tmp_path / "keeper.log").read_text() == ""


def write_notebook(path: Path, *cells: str) -> Path:
    given = f"seed: int = 0\nmodel_path: str = '{TINY}'\ntraining: dict = {{}}"
    parameters = v4.new_code_cell(given, metadata={"tags": ["parameters"]})
    nbformat.write(v4.new_notebook(cells=[parameters, *map(v4.new_code_cell, cells)]), path)
    return path


def run(notebook: Path, output: Path, **parameters: object) -> int:
    given = json.dumps({"model_path": TINY} | parameters)
    return execute.main([str(notebook), str(output), "--parameters", given])


def command(notebook: Path, output: Path, **parameters: object) -> list[str]:
    given = json.dumps({"model_path": TINY} | parameters)
    return [sys.executable, "-m", "helpers.execute", str(notebook), str(output), "--parameters", given]


def pid(output: Path) -> int:
    return int(output.with_suffix(".log").read_text().split()[1])


def gone(number: int) -> bool:
    return not psutil.pid_exists(number)


def outputs(executed: Path) -> list[object]:
    cells = json.loads(executed.read_text())["cells"]
    return [(cell.get("outputs"), cell.get("execution_count")) for cell in cells]


def test_the_next_run_is_given_the_same_kernel_with_nothing_left_in_it(keeper, tmp_path, monkeypatch):
    notebook = write_notebook(tmp_path / "n.ipynb", MAY_LOAD, SHOW, "os.system('echo native; echo wrong >&2')")
    for name in ("a", "b"):
        monkeypatch.setenv("WORD", name)
        assert run(notebook, tmp_path / name / "out.ipynb") == 0
    first, second = (tmp_path / name / "out.ipynb" for name in ("a", "b"))
    assert pid(first) == pid(second)
    assert json.loads(json.dumps(outputs(first)).replace(" a\\n", " b\\n")) == json.loads(json.dumps(outputs(second)))
    assert second.with_suffix(".log").read_text().startswith(f"pid {pid(first)} False b\n")
    assert "native\n" in second.with_suffix(".log").read_text()
    manifests = [json.loads(file.with_suffix(".manifest.json").read_text()) for file in (first, second)]
    assert [manifest.get("kept_kernel") for manifest in manifests] == [None, True]
    keeper.stop()
    assert gone(pid(first))


@pytest.mark.parametrize("cell", ["1 / 0", "os.kill(os.getpid(), 9)"])
def test_a_kernel_of_a_failed_run_is_ended(keeper, tmp_path, cell, capfd):
    notebook = write_notebook(tmp_path / "n.ipynb", MAY_LOAD, SHOW, f"if seed:\n    {cell}")
    status = [run(notebook, tmp_path / f"{seed}{n}/out.ipynb", seed=seed) for n, seed in enumerate((0, 1, 0))]
    assert status == [0, 1, 0]
    said = "ZeroDivisionError" if "/" in cell else "the kernel was killed (SIGKILL)"
    assert said in capfd.readouterr().err
    good, failed, after = (pid(tmp_path / f"{name}/out.ipynb") for name in ("00", "11", "02"))
    assert good == failed != after
    assert gone(failed)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_no_kernel_behind(keeper, tmp_path, number):
    notebook = write_notebook(tmp_path / "n.ipynb", MAY_LOAD, SHOW, "while 1: pass")
    process = subprocess.Popen(command(notebook, tmp_path / "out.ipynb"), cwd=paths.ROOT, stderr=subprocess.PIPE)
    log = tmp_path / "out.log"
    assert eventually(lambda: log.exists() and "pid" in log.read_text())
    process.send_signal(number)
    process.communicate(timeout=WAIT)
    assert process.returncode == (143 if number == signal.SIGTERM else -number)
    assert eventually(lambda: gone(pid(tmp_path / "out.ipynb")))


def test_another_model_changed_code_or_a_tracker_is_never_served_by_an_old_kernel(keeper, tmp_path, monkeypatch):
    notebook, seen = write_notebook(tmp_path / "n.ipynb", MAY_LOAD, SHOW), []

    def served(**parameters: object) -> int:
        output = tmp_path / f"{len(seen)}/out.ipynb"
        assert run(notebook, output, **parameters) == 0
        assert all(gone(number) for number in seen if number != pid(output))
        seen.append(pid(output))
        return seen[-1]

    first = served()
    other = served(model_path="data/models/tiny-llava-next")
    assert served(model_path="data/models/tiny-llava-next") == other
    monkeypatch.setattr(borrowing, "code_hash", lambda: "another")
    changed = served(model_path="data/models/tiny-llava-next")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", f"not {os.environ.get('HF_HUB_DISABLE_TELEMETRY')}")
    environment = served(model_path="data/models/tiny-llava-next")
    tracked = served(training={"report_to": ["tensorboard"]})
    assert len({first, other, changed, environment, tracked}) == 5
    assert gone(tracked)


def test_the_code_hash_is_that_of_all_modules(monkeypatch, tmp_path):
    module = tmp_path / "src/helpers/models/loading.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    found = set()
    for text in ("a", "b"):
        module.write_text(text)
        found.add(borrowing.code_hash())
    assert len(found) == 2


def test_without_a_keeper_that_answers_a_run_starts_its_own_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv(client.VARIABLE, str(tmp_path / "nowhere"))
    assert client.take("key") is None
    notebook = write_notebook(tmp_path / "n.ipynb", MAY_LOAD, SHOW, "assert 'KEEP_MODEL' not in os.environ")
    assert run(notebook, tmp_path / "out.ipynb") == 0


def test_kernels_idle_and_lent_end_with_the_process_that_started_the_keeper(tmp_path):
    code = (
        "import os, pathlib, time; from helpers.kept import client\n"
        f"k = client.Keeper(os.environ, pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "os.environ[client.VARIABLE] = k.folder\n"
        "loans = [client.take('key') for _ in range(2)]\n"
        "for loan in loans: loan.start(['sleep', '600'], os.environ, '/', k.folder + '/none')\n"
        "loans[0].keep()\n"
        "print(k.folder, *(loan.pid for loan in loans), flush=True); time.sleep(600)"
    )
    environment = execute.environment(1)
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    folder, *pids = starter.stdout.readline().split()
    assert not any(gone(int(number)) for number in pids)
    starter.kill()
    starter.communicate()
    assert eventually(lambda: all(gone(int(number)) for number in pids))
    assert eventually(lambda: not Path(folder).exists())


def test_kernels_end_with_a_keeper_that_is_killed(keeper):
    loan = client.take("key")
    loan.start(["sleep", "600"], os.environ, "/", f"{keeper.folder}/none")
    keeper._process.kill()
    assert loan.wait(WAIT) == -signal.SIGKILL
    assert eventually(lambda: gone(loan.pid))
    assert client.take("key") is None


def test_a_kernel_is_retired_after_so_many_runs_and_idle_ones_end_when_asked(keeper):
    from helpers.kept.keeper import MOST_RUNS

    served = []
    for _ in range(MOST_RUNS + 2):
        loan = client.take("key")
        if not loan.reused:
            loan.start(["sleep", "600"], os.environ, "/", f"{keeper.folder}/none")
        served.append(loan.pid)
        loan.keep()
    assert [served.count(number) for number in dict.fromkeys(served)] == [MOST_RUNS, 2]
    assert client.take(None) is None
    assert all(gone(number) for number in served)


def test_notebooks_that_load_a_base_take_part_and_no_others(monkeypatch):
    monkeypatch.setenv(client.VARIABLE, "folder")
    found = []
    for notebook in sorted((paths.ROOT / "notebooks").glob("*.ipynb")):
        declared = dict.fromkeys(notebooks.declared_parameters(notebook))
        given = declared | ({"model_path": TINY} if "model_path" in declared else {})
        if borrowing.Borrowed(notebook, given, Path("log"))._key():
            found.append(notebook.name[:2])
    assert found == ["03", "04", "05", "11"]  # the workflow gives 11 no model's path, so it takes no part there


# ---- the model -------------------------------------------------------------------------------------------------------


def digest(model) -> dict[str, str]:
    """Of every number: weights, buffers, and the scales of 4-bit weights."""
    return {
        name: hashlib.sha256(tensor.detach().cpu().float().numpy().tobytes()).hexdigest()
        for name, tensor in model.state_dict().items()
    }


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    from helpers.models import kept

    monkeypatch.setenv(kept.VARIABLE, "1")
    yield kept
    kept.drop()
    kept.begin_run()


def test_training_on_a_copy_changes_nothing_of_what_is_kept(keeping, butterflies, tmp_path, model_path):
    from helpers.models.loading import load_model, load_processor
    from helpers.models.lora import add_adapter
    from helpers.training import finetune

    settings = load_profile("smoke").training
    model, family = load_model(model_path)
    held = keeping._model
    before, flags = digest(held), [(name, p.requires_grad) for name, p in held.named_parameters()]
    assert digest(model) == before
    shared = dict(held.named_parameters())
    assert all(
        p is not shared[name] and p.data_ptr() == shared[name].data_ptr() for name, p in model.named_parameters()
    )
    modules = [repr(held), *(sorted(vars(module)) for module in held.modules())]
    tuned = add_adapter(model, family, settings, 0)
    samples = butterflies.samples["image_text"][:8]
    finetune(tuned, family, load_processor(model_path), samples, butterflies.folder, tmp_path, settings, 0)
    assert digest(held) == before
    assert [(name, p.requires_grad) for name, p in held.named_parameters()] == flags
    assert all(p.grad is None for p in held.parameters())
    assert [repr(held), *(sorted(vars(module)) for module in held.modules())] == modules


def test_a_model_is_loaded_again_only_if_it_is_another(keeping, monkeypatch, tmp_path):
    import torch

    from helpers.models import loading

    loads = []
    monkeypatch.setattr(loading, "_loaded", lambda path, *given: loads.append(path) or torch.nn.Linear(2, 2))
    folder = tmp_path / "model"
    folder.symlink_to(paths.ROOT / TINY)
    loading.load_model(folder)
    assert not keeping.served()
    keeping.begin_run()
    loading.load_model(folder)
    assert (len(loads), keeping.served()) == (1, True)
    keeping.begin_run()
    loading.load_model(folder, four_bit=False)
    assert (len(loads), keeping.served()) == (2, False)
    monkeypatch.setattr(loading, "identity", lambda path: "with other files")
    loading.load_model(folder, four_bit=False)
    monkeypatch.delenv(keeping.VARIABLE)
    loading.load_model(folder, four_bit=False)
    assert len(loads) == 4


def test_a_changed_file_is_another_identity(tmp_path):
    from helpers.models.loading import identity

    (tmp_path / "model.safetensors").write_text("a")
    before = identity(tmp_path)
    assert identity(tmp_path) == before
    (tmp_path / "model.safetensors").write_text("bc")
    assert identity(tmp_path) != before


# ---- the notebooks ---------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(paths.ROOT / "tests")
    import small_run

    profile = load_profile("smoke")
    data, found = tmp_path / "data", tmp_path / "dataset"
    small_run.run("01_data_generation", domain="butterfly", output_dir=str(data), data=profile.data.model_dump())
    small_run.run(
        "02_dataset_build",
        domain="butterfly",
        data_dir=str(data),
        output_dir=str(found),
        build=profile.build.model_dump(),
    )
    return found


LEFT = """import gc, torch
from helpers.models import kept
held = set(map(id, kept._model.modules()))
found = [value for value in gc.get_objects() if issubclass(type(value), torch.nn.Module)]
others = [value for value in found if id(value) not in held and [*value.parameters()]]
print('models left:', sorted({type(value).__name__ for value in others}))"""


@pytest.mark.slow
def test_two_seeds_and_an_evaluation_on_one_load_are_those_of_new_processes(keeper, tmp_path, dataset):
    """The evaluation alone is run in this process, which spares a start: the cells are the same."""
    import small_run

    profile, notebook = load_profile("smoke"), paths.ROOT / "notebooks"
    common = {"model": "qwen2_vl", "model_path": TINY, "dataset_dir": str(dataset), "mode": "text_only"}
    kept, alone = tmp_path / "kept", tmp_path / "alone"

    def train(folder: Path, seed: int, variable: str) -> subprocess.Popen[bytes]:
        given = common | {
            "seed": seed,
            "training": profile.training.model_dump(),
            "output_dir": str(folder / f"{seed}"),
        }
        arguments = command(notebook / "03_qlora_finetuning.ipynb", folder / f"train{seed}.ipynb", **given)
        return subprocess.Popen(arguments, cwd=paths.ROOT, env=os.environ | {client.VARIABLE: variable})

    fresh = train(alone, 1, "")
    assert [train(kept, seed, keeper.folder).wait() for seed in (0, 1)] == [0, 0]
    asked = common | {"seed": 1, "evaluation": profile.evaluation.model_dump(), "adapter_dir": str(kept / "1/adapter")}
    assert run(notebook / "04_evaluation.ipynb", kept / "ask.ipynb", **asked, output_dir=str(kept / "ask")) == 0
    assert run(write_notebook(tmp_path / "left.ipynb", MAY_LOAD, LEFT), kept / "left.ipynb") == 0
    assert (kept / "left.log").read_text() == "models left: []\n"
    os.environ.pop("KEEP_MODEL", None)
    small_run.run("04_evaluation", **asked, output_dir=str(alone / "ask"))
    assert fresh.wait() == 0
    for file in (
        "1/adapter/adapter_model.safetensors",
        "1/adapter/adapter_config.json",
        "1/losses.csv",
        "ask/answers.jsonl",
    ):
        assert (kept / file).read_bytes() == (alone / file).read_bytes(), file
    assert results(kept / "train1.ipynb") == results(alone / "train1.ipynb")
    costs = [json.loads((kept / f"{seed}/resources.json").read_text()) for seed in (0, 1)]
    assert [cost.get("base_was_loaded") for cost in costs] == [None, True]
    assert json.loads((kept / "ask.manifest.json").read_text())["kept_kernel"]


def results(path: Path) -> list[object]:
    """Cells' numbers and the kinds of what they return; what they print holds times, and libraries' words at import."""
    cells = json.loads(path.read_text())["cells"]
    kinds = [[o["output_type"] for o in cell.get("outputs", []) if o["output_type"] != "stream"] for cell in cells]
    return [(cell.get("execution_count"), kind) for cell, kind in zip(cells, kinds, strict=True)]
