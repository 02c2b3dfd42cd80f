# The whole study as a graph: which file is made by which notebook from which others.
#
#     ./run_all.sh                                  the demo, one seed; sets up what it needs
#     snakemake --workflow-profile config/snakemake --config profile=smoke            another profile of config/profiles/
#     snakemake ... --config seeds=0,1,2 -- publish     three seeds, figures copied into figures/demo/
#     snakemake ... --config set="training.epochs=3"    another setting, in a run's folder of its own
#     snakemake ... --config grids=methods,controls -- all_grids   grids of config/grids/: runs, tables and figures
#     snakemake ... --config grids=methods only=seed0 -- grid_runs  of these the runs with that in their name
#     snakemake ... -n                              what would run, and why
#
# A job is one notebook with one set of parameters, run by `python -m helpers.workflow.execute`. It runs again when its
# notebook, a helper module that the notebook imports, one of its own parameters or one of its input files has changed,
# and not otherwise. Where files lie is said in helpers.paths alone.

import atexit
import fcntl
import glob
import json
import os
import pathlib
import re
import sys
import time

sys.path.insert(0, os.path.join(workflow.basedir, "src"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [sys.path[0], os.environ.get("PYTHONPATH")]))

from snakemake.iocontainers import Wildcards
from snakemake_interface_logger_plugins.common import LogEvent

from helpers.config import grids, profiles
from helpers.config.figure_style import STYLE_FILE
from helpers.config.prompts import evaluation_prompts, prompt_path, training_prompts
from helpers.domains import SOURCES, input_files
from helpers.families import registry
from helpers.paths import ADAPTER, MAIN, MODES, ROOT, STEPS, Layout, kinds_of
from helpers.training import trackers
from helpers.workflow import execute, failures, notebooks, preflight
from helpers.workflow.contents import Contents
from helpers.workflow.run_layout import OldRunError, check_layout, mark_layout
from helpers.workflow.warm import client as warm

workdir: workflow.basedir

PYTHON = sys.executable

# ---- settings ----------------------------------------------------------------------------------------------------


GIVEN = config.get("set") or ""
CHANGED = profiles.parse_overrides(" ".join(GIVEN) if isinstance(GIVEN, list) else str(GIVEN))
if "seeds" in config:
    CHANGED["seeds"] = str(config["seeds"]).split(",")


def load_grids():
    found = {grid.name: grid for grid in map(grids.load_grid, filter(None, str(config.get("grids") or "").split(",")))}
    if len(names := {grid.profile for grid in found.values()}) > 1:
        raise profiles.SettingsError(f"grids of one profile at a time, not of {', '.join(sorted(names))}")
    return found


try:
    GRIDS = load_grids()
    NAMED = next((grid.profile for grid in GRIDS.values()), str(config.get("profile", "demo")))
    PROFILE = profiles.load_profile(NAMED, CHANGED)
    # A run whose results differ from the profile's has a folder of its own
    RUN = f"runs/{config.get('run') or grids.run_name(PROFILE.name, CHANGED)}"
    GRID_RUNS = {name: grids.runs(grid, PROFILE, str(config.get("only") or "")) for name, grid in GRIDS.items()}
    # By its name, in what each variant differs from the profile. A run has one name per step (see helpers.config.grids).
    OVERRIDES = {MAIN: {}} | {
        run.key(step): run.at(step)[1]
        for cells in GRID_RUNS.values()
        for run in cells
        for step in grids.DEPENDS_ON
    }
    VARIANTS = {name: profiles.replaced(PROFILE, changes, "the grid") for name, changes in OVERRIDES.items()}
    for settings in VARIANTS.values():
        training_prompts(settings.build.prompts), evaluation_prompts(settings.evaluation.prompts)
    check_layout(RUN)
except (profiles.SettingsError, OldRunError) as error:
    raise WorkflowError(str(error))

FACTS = [path.relative_to(ROOT).as_posix() for path in SOURCES["drawn"].tables.values()]
REPORTED = "data/reported.csv"
STYLE = [path.relative_to(ROOT).as_posix() for path in [STYLE_FILE] if path.is_file()]
LAYOUT = Layout(pathlib.Path(RUN))
DISPLAYS = {name: model.display for name, model in PROFILE.models.items()}
PUBLISHED = f"figures/{RUN.removeprefix('runs/')}"
# Families of models: all members on the first drawn domain, and one of each family on the others
MEMBERS = PROFILE.families.members or registry.taught()
DRAWN_DOMAINS = [name for name, domain in PROFILE.domains.items() if domain.source == "drawn"]
OF_MEMBERS = [(member, domain) for domain in DRAWN_DOMAINS for member in MEMBERS
    if domain == DRAWN_DOMAINS[0] or member in registry.one_per_family(MEMBERS)]  # fmt: skip
FAMILIES = [*(f"families.{kind}" for kind in kinds_of("families")), "families_findings.csv", "families_findings.json"]
OF_FAMILIES = "figures/families" if RUN == "runs/demo" else f"{PUBLISHED}/families"  # where they are published
OF_A_GRID = [name.partition("{grid}")[2] for name in STEPS["grid"].files if name.startswith("figures/")]
DRAWN = [f"{name}.{kind}" for step in ("ablation", "resources", "paper") for name in STEPS[step].figures for kind in kinds_of(name)]


def file(step, name):
    """The pattern of one of a step's files."""
    return str(LAYOUT.file(step, name))


def copy(step):
    """The pattern of the executed copy of a step's notebook."""
    return str(LAYOUT.executed(step))


# Pictures are too many to be watched one by one. The notebook that put them there stands for them: its executed copy is
# another one each time.
IMAGES = copy("dataset")


def trained(step, name):
    """A file of every training run of the profile."""
    fields = dict(model=PROFILE.models, domain=PROFILE.domains, mode=PROFILE.modes, seed=PROFILE.seeds)
    return expand(file(step, name), **fields, variant=MAIN)


def evaluated(name):
    """The same of the evaluations, and of the untuned models, which have no training seed; none in a rehearsal."""
    if PROFILE.rehearsal:
        return []
    base = dict(model=PROFILE.models, domain=PROFILE.domains, mode="base", seed=0)
    return expand(file("evaluation", name), **base, variant=MAIN) + trained("evaluation", name)


def own_words(wildcards):
    """What the untuned models wrote about a domain's images: in their answers."""
    base = dict(model=PROFILE.models, domain=wildcards.domain, mode="base", seed=0)
    return expand(file("evaluation", "answers.jsonl"), **base, variant=MAIN)


def beside():
    """The answers of every domain's baselines."""
    return [] if PROFILE.rehearsal else expand(file("baselines", "answers.jsonl"), domain=PROFILE.domains, variant=MAIN)


def of_members(name):
    """A file of every run of a member."""
    pairs = [dict(member=member, domain=domain) for member, domain in OF_MEMBERS]
    return [path for pair in pairs for path in expand(file("families", name), **pair, seed=PROFILE.seeds)]


def of_grid(name, step, made):
    """A file of one step of all runs of a grid, each once; the untuned model has no training."""
    cells = [run for run in GRID_RUNS[name] if step != "training" or run.mode != "base"]
    rests = "data" if step == "baselines" else step  # on the texts alone
    places = [{**vars(run), "mode": run.at(rests)[0], "variant": run.key(rests)} for run in cells]
    return list(dict.fromkeys(file(step, made).format(**place) for place in places))


def baselines_of(name):
    """The answers of the baselines that a grid compares with: those of each of its data sets."""
    return of_grid(name, "baselines", "answers.jsonl") if GRIDS[name].baselines else []


def earlier(step, pattern, wildcards):
    """The file of an earlier step that a run rests on, or the files."""
    if isinstance(pattern, list):
        return [earlier(step, each, wildcards) for each in pattern]
    mode, overrides = grids.at(step, wildcards.get("mode", ""), OVERRIDES[wildcards.variant])
    return pattern.format(**{**wildcards, "mode": mode, "variant": grids.key(overrides)})


def folder(step, wildcards):
    """The folder of a run's files of this step or an earlier one."""
    return earlier(step, str(LAYOUT.folder(step)), wildcards)


wildcard_constraints:
    model="|".join(PROFILE.models),
    domain="|".join(PROFILE.domains),
    mode="|".join(["base", *MODES]),
    variant="|".join(map(re.escape, OVERRIDES)),
    grid="|".join(GRIDS) or "none",
    member="|".join(MEMBERS),
    seed=r"\d+",


# ---- inputs that are not made here ---------------------------------------------------------------------------------


def model_files(path):
    try:
        return preflight.model_files(path)
    except preflight.PreflightError:
        if "base_models" in sys.argv:  # the command that makes them
            return []
        raise


def model_of(wildcards):
    """Where a run's base model is: a grid may compare several of one architecture."""
    return VARIANTS[wildcards.variant].models[wildcards.model].path


def prompts(group, wildcards):
    """The file of prompts that a run's training or evaluation names."""
    return os.path.relpath(prompt_path(getattr(VARIANTS[wildcards.variant], group).prompts))


def adapter(wildcards):
    """The adapter that a run is evaluated with: none for the untuned model."""
    files = [file("training", f"adapter/{name}") for name in ADAPTER]
    return [] if wildcards.mode == "base" else earlier("training", files, wildcards)


def descriptions(wildcards):
    """The untuned model's words, where a run describes pictures with it: from its own evaluation as the profile has it.
    A run of another model, or asked the dev questions, writes its own."""
    given = VARIANTS[wildcards.variant]
    alike = given.models == PROFILE.models and given.evaluation.split == PROFILE.evaluation.split
    if not alike or not all("describe_then_answer" in s.answering for s in (given.evaluation, PROFILE.evaluation)):
        return []
    made_by = {**wildcards, "mode": "base", "variant": MAIN, "seed": "0"}
    return [] if made_by == dict(wildcards) else file("evaluation", "descriptions.jsonl").format(**made_by)


# ---- what each notebook is given -----------------------------------------------------------------------------------
# Explicit values and nothing more: a change in the evaluation settings must not train anything again. A setting that is
# left out would be the profile's of the notebook's own default.


def base_models_parameters(wildcards):
    return PROFILE.base_models.model_dump() | {"models": None}


def data_parameters(wildcards):
    settings = VARIANTS[wildcards.variant]
    domain = settings.domains[wildcards.domain]
    return {
        "domain": wildcards.domain,
        "source": domain.source,
        "source_path": domain.path,
        "missing_images": domain.missing_images,
        "variant": wildcards.variant,
        "output_dir": folder("data", wildcards),
        **settings.data.model_dump(),
        **settings.writer.model_dump(),
    }


def dataset_parameters(wildcards):
    domain = PROFILE.domains[wildcards.domain]
    return {
        "domain": wildcards.domain,
        "data_dir": folder("data", wildcards),
        "variant": wildcards.variant,
        "output_dir": folder("dataset", wildcards),
        "modes": list(MODES),
        "training_images": domain.training_images,
        "source": domain.source,
        **VARIANTS[wildcards.variant].build.model_dump(),
        "prompts": prompts("build", wildcards),
    }


def one_run(step, wildcards):
    """What training and evaluation have in common."""
    return {
        "model": wildcards.model,
        "model_path": model_of(wildcards),
        "domain": wildcards.domain,
        "mode": wildcards.mode,
        "variant": wildcards.variant,
        "seed": int(wildcards.seed),
        "dataset_dir": folder("dataset", wildcards),
        "output_dir": str(LAYOUT.folder(step, **wildcards)),
    }


def training_parameters(wildcards):
    training = VARIANTS[wildcards.variant].training
    features = str(LAYOUT.features(wildcards.model)) if training.tower_cache else None
    return one_run("training", wildcards) | {"features_dir": features, **training.model_dump()}


def evaluation_parameters(wildcards):
    settings = VARIANTS[wildcards.variant]
    return one_run("evaluation", wildcards) | {
        "adapter_dir": None if wildcards.mode == "base" else f"{folder('training', wildcards)}/adapter",
        "four_bit": settings.training.four_bit,
        "descriptions_file": descriptions(wildcards) or None,
        **settings.evaluation.model_dump(),
        "prompts": prompts("evaluation", wildcards),
    }


def over_all_runs(wildcards):
    answers = {"answer_files": evaluated("answers.jsonl"), "protocol": PROFILE.evaluation.protocols[0]}
    return {"run_dir": RUN, "displays": DISPLAYS, **answers}


def resources_parameters(wildcards):
    files = {"resource_files": trained("training", "resources.json"), "timing_files": evaluated("timings.json")}
    return over_all_runs(wildcards) | files


def own_classes_parameters(wildcards):
    return over_all_runs(wildcards) | {
        "resource_files": trained("training", "resources.json"),
        "dataset_dir": str(LAYOUT.folder("dataset", domain=next(iter(PROFILE.domains)), variant=MAIN)),
    }


def grid_parameters(wildcards):
    name = wildcards.get("grid", next(iter(GRIDS), ""))
    if not name:  # only asked for the parameters' names
        return dict.fromkeys(["grid_name", "title", "run_dir", "output_dir", "answer_files", "images", "displays"])
    varied = {field for run in GRID_RUNS[name] for field in run.overrides}
    return {
        "grid_name": name,
        "title": GRIDS[name].title,
        "run_dir": RUN,
        "displays": DISPLAYS,
        "output_dir": str(LAYOUT.folder("grid", grid=name)),
        "answer_files": of_grid(name, "evaluation", "answers.jsonl"),
        "baseline_files": baselines_of(name),
        "baselines": GRIDS[name].baselines,
        "resource_files": of_grid(name, "training", "resources.json"),
        "images": [] if GRIDS[name].images else ["with"],
        "x": GRIDS[name].x,
        "variants": {run.key("evaluation"): run.overrides for run in GRID_RUNS[name]},
        "labels": {run.key("evaluation"): run.label for run in GRID_RUNS[name] if run.mode != "base"},
        "defaults": {field: grids.value_of(PROFILE, field) for field in varied},
    }


def baselines_parameters(wildcards):
    return {
        "domain": wildcards.domain,
        "variant": wildcards.variant,
        "dataset_dir": folder("dataset", wildcards),
        "output_dir": str(LAYOUT.folder("baselines", **wildcards)),
        "run_dir": RUN,
        "contrastive_model": PROFILE.contrastive_model,
        "model_paths": {name: model.path for name, model in PROFILE.models.items()},
        "own_words": own_words(wildcards),
        "displays": DISPLAYS,
        **PROFILE.evaluation.model_dump(include={"batch_size", "max_new_tokens", "dtype", "max_pixels"}),
    }


def families_parameters(wildcards):
    return {
        "member": wildcards.member,
        "domain": wildcards.domain,
        "seed": int(wildcards.seed),
        "dataset_dir": str(LAYOUT.folder("dataset", domain=wildcards.domain, variant=MAIN)),
        "output_dir": str(LAYOUT.folder("families", **wildcards)),
        **PROFILE.families.model_dump(exclude={"members"}),
    }


def families_table_parameters(wildcards):
    files = {f"{kind}_files": of_members(f"{name}") for kind, name in OF_EACH.items()}
    return {"run_dir": RUN, "own_table": f"{PUBLISHED}/table1.csv", **files}


OF_EACH = {"answer": "answers.jsonl", "retention": "retention_answers.jsonl", "gate": "gates.csv", "training": "trainings.csv"}
PARAMETERS = {
    "base_models": base_models_parameters,
    "start": lambda wildcards: {"steps": min(30, PROFILE.training.max_steps or 30), "output_dir": f"{RUN}/start"},
    "data": data_parameters,
    "dataset": dataset_parameters,
    "training": training_parameters,
    "evaluation": evaluation_parameters,
    "ablation": over_all_runs,
    "resources": resources_parameters,
    "paper": lambda wildcards: over_all_runs(wildcards)
    | {"reported": REPORTED, "baseline_files": beside(), "retention_files": evaluated("retention_answers.jsonl")},
    "grid": grid_parameters,
    "own_classes": own_classes_parameters,
    "report": lambda wildcards: {"run_dir": RUN, "displays": DISPLAYS},
    "families": families_parameters,
    "families_table": families_table_parameters,
    "baselines": baselines_parameters,
}
ON_A_CARD = {"training", "evaluation", "baselines", "families"}
USE_TORCH = {"base_models", "start", *ON_A_CARD}
NOTEBOOK = {step: f"notebooks/{made.notebook}.ipynb" for step, made in STEPS.items()}


def given(step):
    """For `params:`, the notebook's parameters as JSON (equal parameters give equal text) and the run's name."""

    def label(wildcards):
        named = (f"seed {value}" if name == "seed" else value for name, value in wildcards.items() if value != MAIN)
        return " ".join([STEPS[step].notebook, *named])

    return {"given": lambda wildcards: json.dumps(PARAMETERS[step](wildcards), sort_keys=True), "label": label}


def check_notebooks():
    """Each notebook declares what it will be given, and there is a kernel to run it."""
    names = dict(model=[*PROFILE.models][0], domain=[*PROFILE.domains][0], mode="base", variant=MAIN, member="clip")
    example = Wildcards(fromdict=names | {"seed": str(PROFILE.seeds[0])})
    for step, parameters in PARAMETERS.items():
        notebooks.check_parameters(NOTEBOOK[step], parameters(example))
    preflight.check_kernel()


# Before the graph is built, so that nothing that is missing is found out after hours
try:
    check_notebooks()
    for settings in VARIANTS.values():
        trackers.check_trackers(settings.training.report_to)
    HELPERS = notebooks.helper_files(NOTEBOOK.values())
    PATHS = {model.path for settings in VARIANTS.values() for model in settings.models.values()}
    MODELS = {path: model_files(path) for path in sorted(PATHS)}
    MODULES = {member: registry.module_and_class(member)[0] for member in MEMBERS}
    BEHIND = notebooks.files_behind(MODULES.values())
    ORIGINS = {name: input_files(name, domain.source, domain.path, domain.missing_images) for name, domain in PROFILE.domains.items()}
except (notebooks.NotebookError, preflight.PreflightError, ValueError) as error:
    raise WorkflowError(str(error))


def code(step):
    """A step's notebook and the helpers behind it, as inputs."""
    return [NOTEBOOK[step], *HELPERS[NOTEBOOK[step]]]


CONTENTS = Contents(RUN)
BESIDE = {"families_table": [f"{PUBLISHED}/table1.csv"]}  # read, but no input, as `publish` would then have to come first
if workflow.is_main_process and not {"-n", "--dry-run", "--dryrun"} & set(sys.argv):
    atexit.register(CONTENTS.remember)


def contents(step):
    """For `params:`, what a job's inputs hold: Snakemake compares the dates of files, and an older one may be another.
    It compares no parameter that is computed from `input`, so the files are found by the wildcards."""

    def files(kind, wildcards):
        found = INPUTS[step][kind]
        if callable(found):
            found = found(wildcards)
            return [found] if isinstance(found, str) else found
        return [name.format(**wildcards) for name in ([found] if isinstance(found, str) else found)]

    def of_job(wildcards):
        named = [str(name) for kind in INPUTS[step] for name in files(kind, wildcards)]
        ours = [name for name in named if name.startswith(f"{LAYOUT.run}/")]
        return CONTENTS.digest([*code(step), *BESIDE.get(step, []), *(name for name in named if name not in set(ours))], ours)

    return of_job


def made(step):
    """What a step leaves, as outputs."""
    return [str(path) for path in LAYOUT.made(step)]


# ---- the terminal --------------------------------------------------------------------------------------------------
# One line when a run starts and one when it ends, written by the run itself; Snakemake's own lines about the same are
# left to its log. A run that fails has said so before Snakemake repeats its command.

CHATTER = ("Select jobs", "Execute ", "Finished jobid", "RuleException:\nCalledProcessError")


def worth_showing(record):
    hidden = {LogEvent.PROGRESS, LogEvent.RESOURCES_INFO}
    return getattr(record, "event", None) not in hidden and not record.getMessage().startswith(CHATTER)


logger.addFilter(worth_showing)


# ---- start -----------------------------------------------------------------------------------------------------------


def lock():
    """One workflow per run at a time. The system frees this lock when its holder dies, however it dies; Snakemake's
    own has to be removed by hand after a kill, and is switched off in config/snakemake."""
    os.makedirs(RUN, exist_ok=True)
    held = open(f"{RUN}/.lock", "w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError(f"another workflow is writing to {RUN}; wait for it, or end it")
    return held


def count_runs(rules):
    """Each run adds a byte to the counter and so knows which of how many it is."""
    for name in (".counter", f".counter{execute.DONE}"):
        open(f"{RUN}/{name}", "wb").close()
    os.environ["RUN_COUNTER"] = os.path.abspath(f"{RUN}/.counter")
    os.environ["RUN_BEGAN"] = str(time.time())
    os.environ["RUN_TOTAL"] = str(len(rules))


def start_warm(rules):
    """A server of warm starts for the runs on this machine (`helpers.workflow.warm`), where there are runs enough."""
    heavy = len([rule for rule in rules if rule in USE_TORCH]) > 1
    if not (heavy or len(rules) > 2) or not workflow.local_exec or not warm.can_serve():
        return None
    server = warm.WarmServer(execute.kernel_environment(PROFILE.jobs.threads), heavy, LAYOUT.run / "logs" / "warm.log")
    os.environ[warm.VARIABLE] = server.folder
    return server


onstart:
    global LOCK, WARM, STARTED  # the first two are held as long as this process lives
    STARTED = time.time()
    LOCK = lock()
    mark_layout(RUN)
    try:
        preflight.check_room(RUN, PROFILE.disk_gb)
    except preflight.PreflightError as error:
        raise WorkflowError(str(error))
    runs = [job.rule.name for job in workflow.dag.needrun_jobs() if job.rule.name in STEPS]
    count_runs(runs)
    WARM = start_warm(runs)


def stop_warm():
    if server := globals().get("WARM"):
        server.stop()


onsuccess:
    stop_warm()


onerror:
    stop_warm()
    if text := failures.failure_summary(LAYOUT.run / "notebooks", STARTED):
        print(text, file=sys.stderr, flush=True)


# ---- the graph -----------------------------------------------------------------------------------------------------

EXECUTE = (
    "{PYTHON:q} -m helpers.workflow.execute {input.code[0]} {output.notebook} --log {log} --threads {threads}"
    " --parameters {params.given:q} --label {params.label:q}"
)

def of_run(step, name):
    """An input function: the file of an earlier step that a run rests on."""
    return lambda wildcards: earlier(step, name, wildcards)


# What each step reads, beside its notebook and the helpers behind it
INPUTS = {
    "base_models": {"facts": FACTS},  # the names that no base model may see
    "start": {"facts": FACTS},
    "data": {"source": lambda wildcards: ORIGINS[wildcards.domain]},
    "dataset": {
        "data": of_run("data", made("data")),
        "images": of_run("data", copy("data")),
        "prompts": lambda wildcards: prompts("build", wildcards),
    },
    "training": {
        "model": lambda wildcards: MODELS[model_of(wildcards)],
        "samples": of_run("dataset", f"{LAYOUT.folder('dataset')}/{{mode}}.jsonl"),
        "images": lambda wildcards: [] if wildcards.mode == "text_only" else earlier("dataset", IMAGES, wildcards),
    },
    "evaluation": {
        "model": lambda wildcards: MODELS[model_of(wildcards)],
        "adapter": adapter,
        "questions": of_run("dataset", file("dataset", "questions.jsonl")),
        "images": of_run("dataset", IMAGES),
        "descriptions": descriptions,
        "prompts": lambda wildcards: prompts("evaluation", wildcards),
    },
    "ablation": {"answers": evaluated("answers.jsonl"), "style": STYLE},
    "resources": {
        "style": STYLE,
        "records": trained("training", "resources.json"),
        "answers": evaluated("answers.jsonl"),
        "timings": evaluated("timings.json"),
        "beside": [*glob.glob("benchmarks/costs.csv"), *glob.glob("benchmarks/gpu/h200.csv")],
    },
    "paper": {
        "style": STYLE,
        "answers": evaluated("answers.jsonl"),
        "baselines": beside(),
        "retention": evaluated("retention_answers.jsonl"),
        "reported": REPORTED,
        "facts": FACTS,  # a class is drawn in Figure 1; which classes look alike
    },
    "baselines": {
        "words": own_words,
        "questions": of_run("dataset", file("dataset", "questions.jsonl")),
        "images": of_run("dataset", IMAGES),
        "models": [name for model in PROFILE.models.values() for name in MODELS[model.path]],
        "contrastive": model_files(PROFILE.contrastive_model) if PROFILE.contrastive_model else [],
    },
    "families": {
        "member": lambda wildcards: BEHIND[MODULES[wildcards.member]],
        "lessons": sorted(glob.glob("data/models/families/*.safetensors")),
        "models": [*glob.glob("data/models/tiny-clip/*"), *glob.glob("data/models/tiny-qwen2-vl/tokenizer.json"), *glob.glob("data/models/tiny-llava-next/*")],
        "questions": file("dataset", "questions.jsonl").replace("{variant}", MAIN),
        "images": IMAGES.replace("{variant}", MAIN),
    },
    "families_table": {"style": STYLE, **{kind: of_members(name) for kind, name in OF_EACH.items()}},
    "report": {
        "templates": glob.glob("src/helpers/results/report/templates/*"),
        "results": [name for step in ("ablation", "resources", "paper") for name in made(step)],
    },
    "own_classes": {
        "style": STYLE,
        "answers": evaluated("answers.jsonl"),
        "records": trained("training", "resources.json"),
        "texts": expand(IMAGES, domain=PROFILE.domains, variant=MAIN),
    },
    "grid": {
        "style": STYLE,
        "answers": lambda wildcards: of_grid(wildcards.grid, "evaluation", "answers.jsonl"),
        "baselines": lambda wildcards: baselines_of(wildcards.grid),
        "records": lambda wildcards: of_grid(wildcards.grid, "training", "resources.json"),
    },
}

for step in STEPS:

    rule:
        name:
            step
        input:
            code=code(step),
            **INPUTS[step],
        output:
            made(step),
            notebook=copy(step),
        log:
            str(LAYOUT.log(step)),
        params:
            **given(step),
            contents=contents(step),
        priority: int(step == "training")  # the longest runs first
        threads: workflow.cores if step == "base_models" else PROFILE.jobs.threads if step in USE_TORCH else 1
        resources:
            **({"mem_mb": PROFILE.jobs.memory_mb} if step in USE_TORCH else {}),
            **({"runtime": PROFILE.jobs.minutes, "gpu": PROFILE.jobs.gpus} if step in ON_A_CARD else {}),
        shell:
            EXECUTE


localrules: all, figures, everything, rehearsal, publish, publish_families, grid_runs, all_grids, publish_grids, publish_baselines, ablations


rule figures:
    """Tables and figures of a profile."""
    input:
        [name for step in ("ablation", "resources", "paper") for name in made(step)],


rule all:
    """Tables and figures of a profile, and the page that shows them."""
    default_target: True
    input:
        rules.figures.input,
        made("report"),


rule everything:
    """All of a profile's notebooks, those too that the tables do not need: the check at smoke size."""
    input:
        rules.all.input,
        copy("start"),
        expand(file("baselines", "baselines.csv"), domain=PROFILE.domains, variant=MAIN),
        made("families_table") if DRAWN_DOMAINS else [],


rule rehearsal:
    """What training costs, of models with random weights: no accuracy, so none of the paper's tables."""
    input:
        made("resources"),


rule publish:
    """Copy the figures to where they are committed; the notebooks that no figure needs are run for their copies."""
    input:
        [f"{LAYOUT.figures}/{name}" for name in DRAWN],
        others=rules.everything.input,
    output:
        [f"{PUBLISHED}/{name}" for name in DRAWN],
    params:
        figures=[f"{LAYOUT.figures}/{name}" for name in DRAWN],
    shell:
        "cp {params.figures:q} {PUBLISHED}"


rule publish_families:
    """The same of the families of models."""
    input:
        [f"{LAYOUT.figures}/{name}" for name in FAMILIES],
    output:
        [f"{OF_FAMILIES}/{name}" for name in FAMILIES],
    shell:
        "cp {input:q} {OF_FAMILIES:q}"


rule grid_runs:
    """The runs of the grids that were asked for, and no table: what `--only` leaves may not be the whole."""
    input:
        [path for name in GRIDS for path in of_grid(name, "evaluation", "answers.jsonl")],
        [path for name in GRIDS for path in of_grid(name, "training", "resources.json")],


rule all_grids:
    """Every grid that was asked for."""
    input:
        [str(LAYOUT.file("grid", "{grid}.csv", grid=name)) for name in GRIDS],


rule publish_grids:
    """Copy the grids' figures and tables to where they are committed; a grid may have drawn more than one."""
    input:
        [f"{LAYOUT.folder('grid', grid=name)}/figures/{name}{kind}" for name in GRIDS for kind in OF_A_GRID],
    output:
        [f"{PUBLISHED}/{grid.collection}/{name}{kind}" for name, grid in GRIDS.items() for kind in OF_A_GRID],
    params:
        folders=[f"{LAYOUT.folder('grid', grid=name)}/figures/" for name in GRIDS],
        places=[f"{PUBLISHED}/{grid.collection}/" for grid in GRIDS.values()],
    shell:
        "set -- {params.places:q}; for folder in {params.folders:q}; do cp \"$folder\"* \"$1\"; shift; done"


rule publish_baselines:
    """Copy the baselines' table to where it is committed."""
    input:
        file("baselines", "baselines.csv").replace("{variant}", MAIN),
    output:
        f"{PUBLISHED}/ablations/baselines_{{domain}}.csv",
    shell:
        "cp {input} {output}"


rule ablations:
    """Every grid that was asked for and the baselines, published."""
    input:
        rules.publish_grids.input,
        rules.publish_grids.output,
        expand(f"{PUBLISHED}/ablations/baselines_{{domain}}.csv", domain=PROFILE.domains),
