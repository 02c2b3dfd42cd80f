# The whole study as a graph: which file is made by which notebook from which others.
#
#     snakemake                                     the demo, one seed
#     snakemake --config profile=smoke              another profile of profiles/
#     snakemake --config seeds=0,1,2 -- publish     three seeds, figures copied into figures/demo/
#     snakemake --config set="training.epochs=3"    another setting, for this run
#     snakemake --config grids=methods,controls -- all_grids  grids of config/grids/: their runs, tables and figures
#     snakemake --config grids=methods only=seed0 -- all_grids  of these the runs with that in their name
#     snakemake base_models                         train the tiny base models anew (on demand only)
#     snakemake -n                                  what would run, and why
#
# A job is one notebook with one set of parameters, run by `python -m helpers.workflow.execute`. It runs again when its notebook,
# a helper module that the notebook imports, one of its own parameters or one of its input files has changed, and not
# otherwise. Options of Snakemake itself are in config/snakemake/.

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

from helpers.paths import MAIN
from helpers.config import grids, profiles
from helpers.training import trackers
from helpers.workflow import execute, failures, notebooks, preflight
from helpers.workflow.warm import client as warm

workdir: workflow.basedir

PYTHON = sys.executable

# ---- settings ----------------------------------------------------------------------------------------------------


def load_settings(name):
    overrides = profiles.parse_overrides(str(config.get("set") or ""))
    if "seeds" in config:
        overrides["seeds"] = str(config["seeds"]).split(",")
    return profiles.load_profile(name, overrides)


def load_grids():
    found = {grid.name: grid for grid in map(grids.load_grid, filter(None, str(config.get("grids") or "").split(",")))}
    if len(names := {grid.profile for grid in found.values()}) > 1:
        raise profiles.SettingsError(f"grids of one profile at a time, not of {', '.join(sorted(names))}")
    return found


try:
    GRIDS = load_grids()
    PROFILE = load_settings(next((grid.profile for grid in GRIDS.values()), str(config.get("profile", "demo"))))
    GRID_RUNS = {name: grids.runs(grid, PROFILE, str(config.get("only") or "")) for name, grid in GRIDS.items()}
    # By its name, in what each variant differs from the profile. A run has one name a step (see helpers.config.grids).
    OVERRIDES = {MAIN: {}} | {
        run.key(step): run.at(step)[1]
        for cells in GRID_RUNS.values()
        for run in cells
        for step in grids.STEPS
    }
    VARIANTS = {name: profiles.replaced(PROFILE, changes, "the grid") for name, changes in OVERRIDES.items()}
except profiles.SettingsError as error:
    raise WorkflowError(str(error))

# Facts tables of the drawn domains: one line for a new one
FACTS = {"butterfly": "data/butterflies.csv", "culture": "data/culture.csv"}
REPORTED = "data/reported.csv"
MODES = ["text_only", "image_text", "hybrid", "printed"]  # all are built; a profile says which are trained

# ---- where everything lies -----------------------------------------------------------------------------------------

RUN = f"runs/{PROFILE.name}"
DATA = RUN + "/data/{domain}/{variant}"
DATASET = RUN + "/datasets/{domain}/{variant}"
TRAINED = "{model}/{domain}/{mode}/{variant}/seed{seed}"  # one training run; `base` stands for the untuned model
TRAINING = f"{RUN}/training/{TRAINED}"
FEATURES = RUN + "/features/{model}"  # what the frozen tower sees, with training.tower_cache: shared by all runs
EVALUATION = f"{RUN}/evaluation/{TRAINED}"
ABLATION = f"{RUN}/ablation/{TRAINED}"
RESULTS = f"{RUN}/results"
FIGURES = f"{RUN}/figures"
EXECUTED = f"{RUN}/notebooks"
LOGS = f"{RUN}/logs"
# Pictures are too many to be watched one by one. The notebook that put them there stands for them: its executed copy is
# another one each time.
PICTURES = EXECUTED + "/build/{domain}/{variant}.ipynb"
PUBLISHED = f"figures/{PROFILE.name}"
FIGURE_KINDS = ["pdf", "png", "csv", "json"]  # json: what it was made from (helpers.workflow.verify)
PAPER_FIGURE_NAMES = ["figure1", "table1", "accuracy", "table2", "ablation"]
PAPER_TABLES = (
    "table1 table2 protocols bootstrap seeds differences paired unreadable categories classes confusions look_alikes"
    " leakage comparison"
).split()
PAPER_FIGURES = expand("{name}.{kind}", name=PAPER_FIGURE_NAMES, kind=FIGURE_KINDS)
COST_FIGURES = expand(
    "{name}.{kind}",
    name=["figure2", "figure2_column", "resources_tradeoff", "resources_saving", "resources_time", "answering"],
    kind=FIGURE_KINDS,
)


def trained(pattern):
    """Every training run of the profile, in a pattern with the fields of TRAINED."""
    fields = dict(model=PROFILE.models, domain=PROFILE.domains, mode=PROFILE.modes, seed=PROFILE.seeds)
    return expand(pattern, **fields, variant=MAIN)


def evaluated(pattern):
    """The same and the untuned models, which have no training seed; nothing where random weights are rehearsed."""
    if PROFILE.rehearsal:
        return []
    base = dict(model=PROFILE.models, domain=PROFILE.domains, mode="base", seed=0)
    return expand(pattern, **base, variant=MAIN) + trained(pattern)


def of_grid(name, pattern, step):
    """The files of one step of all runs of a grid, each once; the untuned model has no training."""
    cells = [run for run in GRID_RUNS[name] if step != "training" or run.mode != "base"]
    places = [{**vars(run), "mode": run.at(step)[0], "variant": run.key(step)} for run in cells]
    return list(dict.fromkeys(pattern.format(**place) for place in places))


def earlier(step, pattern):
    """An input function: the file of an earlier step that a run rests on."""

    def of_run(wildcards):
        mode, overrides = grids.at(step, wildcards.get("mode", ""), OVERRIDES[wildcards.variant])
        return pattern.format(**{**wildcards, "mode": mode, "variant": grids.key(overrides)})

    return of_run


wildcard_constraints:
    model="|".join(PROFILE.models),
    domain="|".join(PROFILE.domains),
    mode="|".join(["base", *MODES]),
    variant="|".join(map(re.escape, OVERRIDES)),
    grid="|".join(GRIDS) or "none",
    seed=r"\d+",


# ---- inputs that are not made here ---------------------------------------------------------------------------------


def model_files(path):
    try:
        return preflight.model_files(path)
    except preflight.PreflightError:
        if "base_models" in sys.argv:  # the command that makes them
            return []
        raise


def source_files(name, domain):
    if domain.path is not None:
        return preflight.source_files(domain.path)
    if name not in FACTS:
        raise preflight.PreflightError(f"no facts table for the drawn domain {name!r}; there are {', '.join(FACTS)}")
    return [FACTS[name]]


def adapter(wildcards):
    """The adapter that a run is evaluated with: none for the untuned model."""
    return [] if wildcards.mode == "base" else earlier("training", f"{TRAINING}/adapter")(wildcards)


def descriptions(wildcards, images=("with",)):
    """The untuned model's words, where a run describes pictures with it: from its own evaluation as the profile has it."""
    both = (VARIANTS[wildcards.variant].evaluation, PROFILE.evaluation)
    if not set(images) & {"with", "other"} or not all("describe" in settings.answering for settings in both):
        return []
    made_by = {**wildcards, "mode": "base", "variant": MAIN, "seed": "0"}
    return [] if made_by == dict(wildcards) and "with" in images else f"{EVALUATION}/descriptions.jsonl".format(**made_by)


def described_changed(wildcards):
    """The same for notebook 05."""
    return descriptions(wildcards, VARIANTS[wildcards.variant].evaluation.ablation_images)


# ---- what each notebook is given -----------------------------------------------------------------------------------
# Explicit values and nothing more: a change in the evaluation settings must not train anything again.


def base_models_parameters(wildcards):
    return PROFILE.base_models.model_dump() | {"models": None}


def generate_parameters(wildcards):
    settings = VARIANTS[wildcards.variant]
    domain = settings.domains[wildcards.domain]
    return {
        "domain": wildcards.domain,
        "source": domain.source,
        "source_path": domain.path,
        "output_dir": DATA.format(**wildcards),
        "data": settings.data.model_dump(),
        "writer": settings.writer.model_dump(),
    }


def build_parameters(wildcards):
    return {
        "domain": wildcards.domain,
        "data_dir": earlier("data", DATA)(wildcards),
        "output_dir": DATASET.format(**wildcards),
        "modes": MODES,
        "training_pictures": PROFILE.domains[wildcards.domain].training_pictures,
        "source": PROFILE.domains[wildcards.domain].source,
        "build": VARIANTS[wildcards.variant].build.model_dump(),
    }


def one_run(wildcards):
    """What training and both evaluations have in common."""
    return {
        "model": wildcards.model,
        "model_path": PROFILE.models[wildcards.model].path,
        "domain": wildcards.domain,
        "mode": wildcards.mode,
        "variant": wildcards.variant,
        "seed": int(wildcards.seed),
        "dataset_dir": earlier("dataset", DATASET)(wildcards),
    }


def finetune_parameters(wildcards):
    training = VARIANTS[wildcards.variant].training
    return one_run(wildcards) | {
        "output_dir": TRAINING.format(**wildcards),
        "features_dir": FEATURES.format(**wildcards) if training.tower_cache else None,
        "training": training.model_dump(),
    }


def evaluate_parameters(wildcards):
    # What is done to the picture concerns notebook 05 alone, and must not run this one again
    shown = VARIANTS[wildcards.variant].evaluation.model_dump() | {
        "ablation_images": [],
        "guidance": 0.0,
        "representations": False,
    }
    described = descriptions(wildcards) or None
    return asked(wildcards, EVALUATION, ["with"]) | {"evaluation": shown, "descriptions_file": described}


def ablate_parameters(wildcards):
    settings = VARIANTS[wildcards.variant].evaluation
    return asked(wildcards, ABLATION, settings.ablation_images) | {
        "evaluation": settings.model_dump(),
        "descriptions_file": described_changed(wildcards) or None,
    }


def asked(wildcards, output, images):
    return one_run(wildcards) | {
        "adapter_dir": adapter(wildcards) or None,
        "four_bit": VARIANTS[wildcards.variant].training.four_bit,
        "output_dir": output.format(**wildcards),
        "images": images,
    }


def shown_changed(wildcards):
    """The pictures, where notebook 05 shows any: not if they are only withheld."""
    settings = VARIANTS[wildcards.variant].evaluation
    none_shown = set(settings.ablation_images) <= {"without"} and not settings.representations
    return [] if none_shown else earlier("dataset", PICTURES)(wildcards)


def resources_parameters(wildcards):
    return {
        "run_dir": RUN,
        "resource_files": trained(f"{TRAINING}/resources.json"),
        "answer_files": evaluated(f"{EVALUATION}/answers.jsonl"),
        "timing_files": evaluated(f"{EVALUATION}/timings.json"),
        "protocol": PROFILE.evaluation.protocols[0],
    }


def paper_parameters(wildcards):
    return {
        "run_dir": RUN,
        "answer_files": evaluated(f"{EVALUATION}/answers.jsonl"),
        "ablation_files": evaluated(f"{ABLATION}/answers.jsonl"),
        "protocol": PROFILE.evaluation.protocols[0],
        "reported": REPORTED,
    }


def grid_answers(name):
    answers = of_grid(name, f"{EVALUATION}/answers.jsonl", "evaluation")
    return answers + (of_grid(name, f"{ABLATION}/answers.jsonl", "ablation") if GRIDS[name].pictures else [])


def grid_parameters(wildcards):
    name = wildcards.get("grid", next(iter(GRIDS), ""))
    if not name:  # only asked for the parameters' names
        return dict.fromkeys(["grid_name", "title", "run_dir", "output_dir", "answer_files", "resource_files", "x"])
    cells = [(run.key(step), run) for run in GRID_RUNS[name] for step in ("evaluation", "ablation")]
    varied = {field for _, run in cells for field in run.overrides}
    return {
        "grid_name": name,
        "title": GRIDS[name].title,
        "run_dir": RUN,
        "output_dir": f"{RUN}/grids/{name}",
        "answer_files": grid_answers(name),
        "resource_files": of_grid(name, f"{TRAINING}/resources.json", "training"),
        "x": GRIDS[name].x,
        "variants": {variant: run.overrides for variant, run in cells},
        "labels": {variant: run.label for variant, run in cells if run.mode != "base"},
        "defaults": {field: grids.value_of(PROFILE, field) for field in varied},
    }


def own_classes_parameters(wildcards):
    return {
        "run_dir": RUN,
        "answer_files": evaluated(f"{EVALUATION}/answers.jsonl"),
        "resource_files": trained(f"{TRAINING}/resources.json"),
        "protocol": PROFILE.evaluation.protocols[0],
    }


def playground_parameters(wildcards):
    return {"steps": min(30, PROFILE.training.max_steps or 30), "output_dir": f"{RUN}/playground"}


def baselines_parameters(wildcards):
    return {
        "domain": wildcards.domain,
        "dataset_dir": DATASET.format(domain=wildcards.domain, variant=MAIN),
        "output_dir": f"{RUN}/baselines/{wildcards.domain}",
        "contrastive_model": PROFILE.contrastive_model,
        "model_paths": {name: model.path for name, model in PROFILE.models.items()},
        "evaluation": PROFILE.evaluation.model_dump(),
    }


STEPS = {  # rule: notebook, its parameters
    "base_models": ("notebooks/00_base_models.ipynb", base_models_parameters),
    "generate": ("notebooks/01_data_generation.ipynb", generate_parameters),
    "build": ("notebooks/02_dataset_build.ipynb", build_parameters),
    "finetune": ("notebooks/03_qlora_finetuning.ipynb", finetune_parameters),
    "evaluate": ("notebooks/04_evaluation.ipynb", evaluate_parameters),
    "ablate": ("notebooks/05_ablation.ipynb", ablate_parameters),
    "resources": ("notebooks/06_resources.ipynb", resources_parameters),
    "paper": ("notebooks/07_paper.ipynb", paper_parameters),
    "grid": ("notebooks/08_grid.ipynb", grid_parameters),
    "baselines": ("notebooks/12_baselines.ipynb", baselines_parameters),
    "playground": ("notebooks/11_playground.ipynb", playground_parameters),
    "report": ("notebooks/10_report.ipynb", lambda wildcards: {"run_dir": RUN}),
    "own_classes": ("notebooks/09_own_classes.ipynb", own_classes_parameters),
}
USE_TORCH = {"base_models", "finetune", "evaluate", "ablate", "baselines", "playground"}
NOTEBOOK = {rule: notebook for rule, (notebook, _) in STEPS.items()}


def given(rule):
    """For `params:`, the notebook's parameters as JSON (equal parameters give equal text) and the run's name."""
    notebook, parameters = STEPS[rule]

    def label(wildcards):
        named = (f"seed {value}" if name == "seed" else value for name, value in wildcards.items() if value != MAIN)
        return " ".join([os.path.splitext(os.path.basename(notebook))[0], *named])

    return {"given": lambda wildcards: json.dumps(parameters(wildcards), sort_keys=True), "label": label}


def check_notebooks():
    """Each notebook declares what it will be given, and there is a kernel to run it."""
    example = Wildcards(
        fromdict=dict(
            model=[*PROFILE.models][0],
            domain=[*PROFILE.domains][0],
            mode="base",
            variant=MAIN,
            seed=str(PROFILE.seeds[0]),
        )
    )
    for notebook, parameters in STEPS.values():
        notebooks.check_parameters(notebook, parameters(example))
    preflight.check_kernel()


# Before the graph is built, so that nothing that is missing is found out after hours
try:
    check_notebooks()
    for settings in VARIANTS.values():
        trackers.check_trackers(settings.training.report_to)
    HELPERS = notebooks.helper_files(NOTEBOOK.values())
    MODELS = {name: model_files(model.path) for name, model in PROFILE.models.items()}
    SOURCES = {name: source_files(name, domain) for name, domain in PROFILE.domains.items()}
except (notebooks.NotebookError, preflight.PreflightError) as error:
    raise WorkflowError(str(error))


def code(rule):
    """A rule's notebook and the helpers behind it, as inputs."""
    return [NOTEBOOK[rule], *HELPERS[NOTEBOOK[rule]]]


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
    """One workflow a profile at a time. The system frees this lock when its holder dies, however it dies; Snakemake's
    own has to be removed by hand after a kill, and is switched off in config/snakemake."""
    os.makedirs(RUN, exist_ok=True)
    file = open(f"{RUN}/.lock", "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError(f"another workflow is writing to {RUN}; wait for it, or end it")
    return file


def count_runs(rules):
    """Each run adds a byte to the counter and so knows which of how many it is."""
    for name in (".counter", f".counter{execute.DONE}"):
        open(f"{RUN}/{name}", "wb").close()
    os.environ["RUN_COUNTER"] = os.path.abspath(f"{RUN}/.counter")
    os.environ["RUN_BEGAN"] = str(time.time())
    os.environ["RUN_TOTAL"] = str(len(rules))


def start_warm(rules):
    """A server of warm starts for the runs on this machine (`helpers.workflow.warm`), where there are runs enough to gain by it."""
    heavy = len([rule for rule in rules if rule in USE_TORCH]) > 1
    if not (heavy or len(rules) > 2) or not workflow.local_exec or not warm.can_serve():
        return None
    server = warm.Server(execute.kernel_environment(PROFILE.jobs.threads), heavy, pathlib.Path(LOGS) / "warm.log")
    os.environ[warm.VARIABLE] = server.folder
    return server


onstart:
    global LOCK, WARM, STARTED  # the first two are held as long as this process lives
    STARTED = time.time()
    LOCK = lock()
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
    if text := failures.failure_summary(pathlib.Path(EXECUTED), STARTED):
        print(text, file=sys.stderr, flush=True)


# ---- the graph -----------------------------------------------------------------------------------------------------

EXECUTE = (
    "{PYTHON:q} -m helpers.workflow.execute {input.code[0]} {output.notebook} --log {log} --threads {threads}"
    " --parameters {params.given:q} --label {params.label:q}"
)


localrules: all, figures, everything, rehearsal, publish, grid_runs, all_grids, publish_grids, publish_baselines, ablations


rule figures:
    """Tables and figures of a profile."""
    input:
        expand(f"{FIGURES}/{{file}}", file=PAPER_FIGURES + COST_FIGURES),
        expand(f"{RESULTS}/{{name}}.csv", name=["table1", "table2", "resources"]),


rule all:
    """Tables and figures of a profile, and the page that shows them."""
    default_target: True
    input:
        rules.figures.input,
        f"{RUN}/report/index.html",


rule publish:
    """Copy the figures to where they are committed."""
    input:
        expand(f"{FIGURES}/{{file}}", file=PAPER_FIGURES + COST_FIGURES),
    output:
        expand(f"{PUBLISHED}/{{file}}", file=PAPER_FIGURES + COST_FIGURES),
    shell:
        "cp {input} {PUBLISHED}"


rule base_models:
    """Train the tiny base models from scratch. They are committed: inputs of the other rules, and no outputs here."""
    input:
        code=code("base_models"),
        facts=FACTS.values(),  # the names that no base model may see
    output:
        notebook=f"{EXECUTED}/base_models.ipynb",
    log:
        f"{LOGS}/base_models.log",
    params:
        **given("base_models"),
    threads: workflow.cores
    shell:
        EXECUTE


rule generate:
    """Pictures, descriptions and questions of a domain."""
    input:
        code=code("generate"),
        source=lambda wildcards: SOURCES[wildcards.domain],
    output:
        texts=f"{DATA}/texts.jsonl",
        questions=f"{DATA}/questions.jsonl",
        notebook=f"{EXECUTED}/generate/{{domain}}/{{variant}}.ipynb",
    log:
        f"{LOGS}/generate/{{domain}}/{{variant}}.log",
    params:
        **given("generate"),
    shell:
        EXECUTE


rule build:
    """Training samples in both versions, test questions, audit."""
    input:
        code=code("build"),
        texts=earlier("data", f"{DATA}/texts.jsonl"),
        questions=earlier("data", f"{DATA}/questions.jsonl"),
        made=earlier("data", f"{EXECUTED}/generate/{{domain}}/{{variant}}.ipynb"),
    output:
        samples=[f"{DATASET}/{mode}.jsonl" for mode in MODES],
        questions=f"{DATASET}/questions.jsonl",
        audit=f"{DATASET}/audit.json",
        notebook=PICTURES,
    log:
        f"{LOGS}/build/{{domain}}/{{variant}}.log",
    params:
        **given("build"),
    shell:
        EXECUTE


rule finetune:
    """One adapter: a model, a domain, a mode, a seed. Checkpoints are no outputs, so that they outlive a failure."""
    input:
        code=code("finetune"),
        model=lambda wildcards: MODELS[wildcards.model],
        samples=earlier("dataset", f"{DATASET}/{{mode}}.jsonl"),
        pictures=lambda wildcards: [] if wildcards.mode == "text_only" else earlier("dataset", PICTURES)(wildcards),
    output:
        adapter=directory(f"{TRAINING}/adapter"),
        resources=f"{TRAINING}/resources.json",
        losses=f"{TRAINING}/losses.csv",
        samples=f"{TRAINING}/resources.parquet",
        manifest=f"{TRAINING}/manifest.json",
        notebook=f"{EXECUTED}/finetune/{TRAINED}.ipynb",
        record=f"{EXECUTED}/finetune/{TRAINED}.manifest.json",
    log:
        f"{LOGS}/finetune/{TRAINED}.log",
    params:
        **given("finetune"),
        checkpoints=f"{TRAINING}/checkpoints",
    priority: 1  # the longest runs first
    threads: PROFILE.jobs.threads
    resources:
        mem_mb=PROFILE.jobs.memory_mb,
        runtime=PROFILE.jobs.minutes,
        gpu=PROFILE.jobs.gpus,
    shell:
        EXECUTE + " && rm -rf {params.checkpoints:q}"


rule evaluate:
    """Answers to all test questions with the picture shown."""
    input:
        code=code("evaluate"),
        model=lambda wildcards: MODELS[wildcards.model],
        adapter=adapter,
        questions=earlier("dataset", f"{DATASET}/questions.jsonl"),
        pictures=earlier("dataset", PICTURES),
        descriptions=descriptions,
    output:
        answers=f"{EVALUATION}/answers.jsonl",
        timings=f"{EVALUATION}/timings.json",
        descriptions=f"{EVALUATION}/descriptions.jsonl",
        times=f"{EVALUATION}/descriptions.seconds.json",
        retention=f"{EVALUATION}/retention_answers.jsonl",
        manifest=f"{EVALUATION}/manifest.json",
        notebook=f"{EXECUTED}/evaluate/{TRAINED}.ipynb",
        record=f"{EXECUTED}/evaluate/{TRAINED}.manifest.json",
    log:
        f"{LOGS}/evaluate/{TRAINED}.log",
    params:
        **given("evaluate"),
    threads: PROFILE.jobs.threads
    resources:
        mem_mb=PROFILE.jobs.memory_mb,
        runtime=PROFILE.jobs.minutes,
        gpu=PROFILE.jobs.gpus,
    shell:
        EXECUTE


use rule evaluate as ablate with:
    input:
        code=code("ablate"),
        model=lambda wildcards: MODELS[wildcards.model],
        adapter=adapter,
        questions=earlier("dataset", f"{DATASET}/questions.jsonl"),
        pictures=lambda wildcards: shown_changed(wildcards),
        descriptions=lambda wildcards: described_changed(wildcards),
    output:
        answers=f"{ABLATION}/answers.jsonl",
        timings=f"{ABLATION}/timings.json",
        representations=f"{ABLATION}/representations.csv",
        manifest=f"{ABLATION}/manifest.json",
        notebook=f"{EXECUTED}/ablate/{TRAINED}.ipynb",
        record=f"{EXECUTED}/ablate/{TRAINED}.manifest.json",
    log:
        f"{LOGS}/ablate/{TRAINED}.log",
    params:
        **given("ablate"),


rule resources:
    """Time, peak memory and energy of all training runs: Figure 2; and what each way of answering costs."""
    input:
        code=code("resources"),
        files=trained(f"{TRAINING}/resources.json"),
        answers=evaluated(f"{EVALUATION}/answers.jsonl"),
        timings=evaluated(f"{EVALUATION}/timings.json"),
    output:
        tables=expand(f"{RESULTS}/{{name}}.csv", name=["resources", "phases", "operations"]),
        figures=[f"{FIGURES}/{file}" for file in COST_FIGURES],
        notebook=f"{EXECUTED}/resources.ipynb",
    log:
        f"{LOGS}/resources.log",
    params:
        **given("resources"),
    shell:
        EXECUTE


rule rehearsal:
    """What training costs, of models with random weights: no accuracy, so none of the paper's tables."""
    input:
        rules.resources.output,


rule paper:
    """Tables 1 and 2 and Figure 1, beside the reported numbers."""
    input:
        code=code("paper"),
        answers=evaluated(f"{EVALUATION}/answers.jsonl"),
        ablation=evaluated(f"{ABLATION}/answers.jsonl"),
        reported=REPORTED,
        looks=FACTS.values(),  # one is drawn in Figure 1; which classes look alike
    output:
        tables=expand(f"{RESULTS}/{{name}}.csv", name=PAPER_TABLES),
        figures=[f"{FIGURES}/{file}" for file in PAPER_FIGURES],
        notebook=f"{EXECUTED}/paper.ipynb",
    log:
        f"{LOGS}/paper.log",
    params:
        **given("paper"),
    shell:
        EXECUTE


rule baselines:
    """What is scored without looking, and by comparing pictures with descriptions."""
    input:
        code=code("baselines"),
        questions=f"{RUN}/datasets/{{domain}}/{MAIN}/questions.jsonl",
        pictures=PICTURES.replace("{variant}", MAIN),
        models=[file for files in MODELS.values() for file in files],
        contrastive=model_files(PROFILE.contrastive_model) if PROFILE.contrastive_model else [],
    output:
        answers=f"{RUN}/baselines/{{domain}}/answers.jsonl",
        table=f"{RUN}/baselines/{{domain}}/baselines.csv",
        notebook=f"{EXECUTED}/baselines/{{domain}}.ipynb",
    log:
        f"{LOGS}/baselines/{{domain}}.log",
    params:
        **given("baselines"),
    threads: PROFILE.jobs.threads
    resources:
        mem_mb=PROFILE.jobs.memory_mb,
        runtime=PROFILE.jobs.minutes,
        gpu=PROFILE.jobs.gpus,
    shell:
        EXECUTE


rule playground:
    """The notebook for trying things, with its own defaults: does it run?"""
    input:
        code=code("playground"),
        facts=FACTS["butterfly"],
    output:
        notebook=f"{EXECUTED}/playground.ipynb",
    log:
        f"{LOGS}/playground.log",
    params:
        **given("playground"),
    threads: PROFILE.jobs.threads
    resources:
        mem_mb=PROFILE.jobs.memory_mb,
    shell:
        EXECUTE


rule everything:
    """All of a profile's notebooks, those too that the tables do not need: the check at smoke size."""
    input:
        rules.all.input,
        rules.playground.output,
        expand(f"{RUN}/baselines/{{domain}}/baselines.csv", domain=PROFILE.domains),


rule report:
    """The whole study as one page; the grids that have been run are on it too."""
    input:
        code=code("report"),
        templates=glob.glob("src/helpers/results/report/templates/*"),
        results=rules.paper.output,
        costs=rules.resources.output,
    output:
        page=f"{RUN}/report/index.html",
        notebook=f"{EXECUTED}/report.ipynb",
    log:
        f"{LOGS}/report.log",
    params:
        **given("report"),
    shell:
        EXECUTE


rule own_classes:
    """Would text alone do? The verdict on classes of one's own."""
    input:
        code=code("own_classes"),
        answers=evaluated(f"{EVALUATION}/answers.jsonl"),
        resources=trained(f"{TRAINING}/resources.json"),
    output:
        table=f"{RESULTS}/verdict.csv",
        figures=expand(f"{FIGURES}/verdict.{{kind}}", kind=FIGURE_KINDS),
        notebook=f"{EXECUTED}/own_classes.ipynb",
    log:
        f"{LOGS}/own_classes.log",
    params:
        **given("own_classes"),
    shell:
        EXECUTE


rule grid:
    """One table and one figure of a grid."""
    input:
        code=code("grid"),
        answers=lambda wildcards: grid_answers(wildcards.grid),
        resources=lambda wildcards: of_grid(wildcards.grid, f"{TRAINING}/resources.json", "training"),
    output:
        table=f"{RUN}/grids/{{grid}}/{{grid}}.csv",
        figures=[f"{RUN}/grids/{{grid}}/figures/{{grid}}.{kind}" for kind in FIGURE_KINDS],
        notebook=f"{EXECUTED}/grids/{{grid}}.ipynb",
    log:
        f"{LOGS}/grids/{{grid}}.log",
    params:
        **given("grid"),
    shell:
        EXECUTE


rule grid_runs:
    """The runs of the grids that were asked for, and no table: what `--only` leaves may not be the whole."""
    input:
        [file for name in GRIDS for file in grid_answers(name)],
        [file for name in GRIDS for file in of_grid(name, f"{TRAINING}/resources.json", "training")],


rule all_grids:
    """Every grid that was asked for."""
    input:
        expand(f"{RUN}/grids/{{grid}}/{{grid}}.csv", grid=GRIDS),


rule publish_grids:
    """Copy the grids' figures and tables to where they are committed; a grid may have drawn more than one."""
    input:
        [f"{RUN}/grids/{grid}/figures/{grid}.{kind}" for grid in GRIDS for kind in FIGURE_KINDS],
    output:
        [f"{PUBLISHED}/ablations/{grid}.{kind}" for grid in GRIDS for kind in FIGURE_KINDS],
    params:
        folders=[f"{RUN}/grids/{grid}/figures/" for grid in GRIDS],
    shell:
        "for folder in {params.folders:q}; do cp \"$folder\"* {PUBLISHED}/ablations/; done"


rule publish_baselines:
    """Copy the baselines' table to where it is committed."""
    input:
        f"{RUN}/baselines/{{domain}}/baselines.csv",
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
