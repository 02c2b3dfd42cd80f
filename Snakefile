# The whole study as a graph: which file is made by which notebook from which others.
#
#     snakemake                                     the demo, one seed
#     snakemake --config profile=smoke              another profile of profiles/
#     snakemake --config seeds=0,1,2 -- publish     three seeds, figures copied into figures/demo/
#     snakemake --config set="training.epochs=3"    another setting, for this run
#     snakemake base_models                         train the tiny base models anew (on demand only)
#     snakemake -n                                  what would run, and why
#
# A job is one notebook with one set of parameters, run by `python -m helpers.execute`. It runs again when its notebook,
# a helper module that the notebook imports, one of its own parameters or one of its input files has changed, and not
# otherwise. Options of Snakemake itself are in profiles/default/.

import fcntl
import json
import os
import sys

sys.path.insert(0, os.path.join(workflow.basedir, "src"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [sys.path[0], os.environ.get("PYTHONPATH")]))

from snakemake.iocontainers import Wildcards
from snakemake_interface_logger_plugins.common import LogEvent

from helpers import notebooks, preflight, settings

workdir: workflow.basedir

PYTHON = sys.executable

# ---- settings ----------------------------------------------------------------------------------------------------


def load_settings():
    overrides = settings.parse_overrides(str(config.get("set") or ""))
    if "seeds" in config:
        overrides["seeds"] = str(config["seeds"]).split(",")
    return settings.load_profile(str(config.get("profile", "demo")), overrides)


try:
    PROFILE = load_settings()
except settings.SettingsError as error:
    raise WorkflowError(str(error))

# Facts tables of the drawn domains: one line for a new one
FACTS = {"butterfly": "data/butterflies.csv", "culture": "data/culture.csv"}
REPORTED = "data/reported.csv"

# ---- where everything lies -----------------------------------------------------------------------------------------

RUN = f"runs/{PROFILE.name}"
DATA = RUN + "/data/{domain}"
DATASET = RUN + "/datasets/{domain}"
TRAINED = "{model}/{domain}/{mode}/seed{seed}"  # one training run; `base` stands for the untuned model
TRAINING = f"{RUN}/training/{TRAINED}"
EVALUATION = f"{RUN}/evaluation/{TRAINED}"
ABLATION = f"{RUN}/ablation/{TRAINED}"
RESULTS = f"{RUN}/results"
FIGURES = f"{RUN}/figures"
EXECUTED = f"{RUN}/notebooks"
LOGS = f"{RUN}/logs"
# Pictures are too many to be watched one by one. The notebook that put them there stands for them: its executed copy is
# another one each time.
PICTURES = EXECUTED + "/build/{domain}.ipynb"
PUBLISHED = f"figures/{PROFILE.name}"
FIGURE_KINDS = ["pdf", "png", "csv"]
PAPER_FIGURES = expand("{name}.{kind}", name=["figure1", "table1", "table2", "accuracy", "ablation"], kind=FIGURE_KINDS)
COST_FIGURES = expand("figure2.{kind}", kind=FIGURE_KINDS)


def trained(pattern):
    """Every training run of the profile, in a pattern with the fields of TRAINED."""
    return expand(pattern, model=PROFILE.models, domain=PROFILE.domains, mode=PROFILE.modes, seed=PROFILE.seeds)


def evaluated(pattern):
    """The same and the untuned models, which have no training seed."""
    return expand(pattern, model=PROFILE.models, domain=PROFILE.domains, mode="base", seed=0) + trained(pattern)


wildcard_constraints:
    model="|".join(PROFILE.models),
    domain="|".join(PROFILE.domains),
    mode="|".join(["base", *PROFILE.modes]),
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
    return [] if wildcards.mode == "base" else f"{TRAINING}/adapter"


# ---- what each notebook is given -----------------------------------------------------------------------------------
# Explicit values and nothing more: a change in the evaluation settings must not train anything again.


def base_models_parameters(wildcards):
    return PROFILE.base_models.model_dump() | {"models": None}


def generate_parameters(wildcards):
    domain = PROFILE.domains[wildcards.domain]
    return {
        "domain": wildcards.domain,
        "source": domain.source,
        "source_path": domain.path,
        "output_dir": DATA.format(**wildcards),
        **PROFILE.data.model_dump(exclude={"limit_questions"}),
    }


def build_parameters(wildcards):
    return {
        "domain": wildcards.domain,
        "data_dir": DATA.format(**wildcards),
        "output_dir": DATASET.format(**wildcards),
        "directions": PROFILE.training.directions,
        "limit_questions": PROFILE.data.limit_questions,
        "seed": PROFILE.data.seed,
    }


def one_run(wildcards):
    """What training and both evaluations have in common."""
    return {
        "model": wildcards.model,
        "model_path": PROFILE.models[wildcards.model].path,
        "domain": wildcards.domain,
        "mode": wildcards.mode,
        "seed": int(wildcards.seed),
        "dataset_dir": DATASET.format(**wildcards),
    }


def finetune_parameters(wildcards):
    output = TRAINING.format(**wildcards)
    return one_run(wildcards) | {"output_dir": output, "training": PROFILE.training.model_dump()}


def evaluate_parameters(wildcards, output=EVALUATION, image="with"):
    return one_run(wildcards) | {
        "adapter_dir": adapter(wildcards).format(**wildcards) if adapter(wildcards) else None,
        "output_dir": output.format(**wildcards),
        "evaluation": PROFILE.evaluation.model_dump(),
        "image": image,
    }


def ablate_parameters(wildcards):
    return evaluate_parameters(wildcards, output=ABLATION, image="without")


def resources_parameters(wildcards):
    return {"run_dir": RUN, "resource_files": trained(f"{TRAINING}/resources.json")}


def paper_parameters(wildcards):
    return {
        "run_dir": RUN,
        "answer_files": evaluated(f"{EVALUATION}/answers.jsonl"),
        "ablation_files": evaluated(f"{ABLATION}/answers.jsonl"),
        "reported": REPORTED,
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
}
NOTEBOOK = {rule: notebook for rule, (notebook, _) in STEPS.items()}


def given(rule):
    """For `params:`, the notebook's parameters as JSON (equal parameters give equal text) and the run's name."""
    notebook, parameters = STEPS[rule]

    def label(wildcards):
        named = (f"seed {value}" if name == "seed" else value for name, value in wildcards.items())
        return " ".join([os.path.splitext(os.path.basename(notebook))[0], *named])

    return {"given": lambda wildcards: json.dumps(parameters(wildcards), sort_keys=True), "label": label}


def check_notebooks():
    """Each notebook declares what it will be given, and there is a kernel to run it."""
    example = Wildcards(
        fromdict=dict(model=[*PROFILE.models][0], domain=[*PROFILE.domains][0], mode="base", seed=str(PROFILE.seeds[0]))
    )
    for notebook, parameters in STEPS.values():
        notebooks.check_parameters(notebook, parameters(example))
    preflight.check_kernel()


# Before the graph is built, so that nothing that is missing is found out after hours
try:
    check_notebooks()
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
    own has to be removed by hand after a kill, and is switched off in profiles/default."""
    os.makedirs(RUN, exist_ok=True)
    file = open(f"{RUN}/.lock", "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError(f"another workflow is writing to {RUN}; wait for it, or end it")
    return file


def count_runs():
    """Each run adds a byte to the counter and so knows which of how many it is."""
    open(f"{RUN}/.counter", "wb").close()
    os.environ["RUN_COUNTER"] = os.path.abspath(f"{RUN}/.counter")
    os.environ["RUN_TOTAL"] = str(sum(job.rule.name in STEPS for job in workflow.dag.needrun_jobs()))


onstart:
    global LOCK  # held as long as this process lives
    LOCK = lock()
    try:
        preflight.check_room(RUN, PROFILE.disk_gb)
    except preflight.PreflightError as error:
        raise WorkflowError(str(error))
    count_runs()


# ---- the graph -----------------------------------------------------------------------------------------------------

EXECUTE = (
    "{PYTHON} -m helpers.execute {input.code[0]} {output.notebook} --log {log} --threads {threads}"
    " --parameters {params.given:q} --label {params.label:q}"
)


localrules: all, publish


rule all:
    """Tables 1 and 2 and Figures 1 and 2 of a profile."""
    default_target: True
    input:
        expand(f"{FIGURES}/{{file}}", file=PAPER_FIGURES + COST_FIGURES),
        expand(f"{RESULTS}/{{name}}.csv", name=["table1", "table2", "resources"]),


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
        notebook=f"{EXECUTED}/generate/{{domain}}.ipynb",
    log:
        f"{LOGS}/generate/{{domain}}.log",
    params:
        **given("generate"),
    shell:
        EXECUTE


rule build:
    """Training samples in both versions, test questions, audit."""
    input:
        code=code("build"),
        data=rules.generate.output,
    output:
        text_only=f"{DATASET}/text_only.jsonl",
        image_text=f"{DATASET}/image_text.jsonl",
        questions=f"{DATASET}/questions.jsonl",
        audit=f"{DATASET}/audit.json",
        notebook=PICTURES,
    log:
        f"{LOGS}/build/{{domain}}.log",
    params:
        **given("build"),
    shell:
        EXECUTE


rule finetune:
    """One adapter: a model, a domain, a mode, a seed. Checkpoints are no outputs, so that they outlive a failure."""
    input:
        code=code("finetune"),
        model=lambda wildcards: MODELS[wildcards.model],
        samples=f"{DATASET}/{{mode}}.jsonl",
        pictures=lambda wildcards: [] if wildcards.mode == "text_only" else PICTURES,
    output:
        adapter=directory(f"{TRAINING}/adapter"),
        resources=f"{TRAINING}/resources.json",
        losses=f"{TRAINING}/losses.csv",
        notebook=f"{EXECUTED}/finetune/{TRAINED}.ipynb",
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
        questions=f"{DATASET}/questions.jsonl",
        pictures=PICTURES,
    output:
        answers=f"{EVALUATION}/answers.jsonl",
        notebook=f"{EXECUTED}/evaluate/{TRAINED}.ipynb",
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
        questions=f"{DATASET}/questions.jsonl",
    output:
        answers=f"{ABLATION}/answers.jsonl",
        notebook=f"{EXECUTED}/ablate/{TRAINED}.ipynb",
    log:
        f"{LOGS}/ablate/{TRAINED}.log",
    params:
        **given("ablate"),


rule resources:
    """Time, peak memory and energy of all training runs: Figure 2."""
    input:
        code=code("resources"),
        files=trained(f"{TRAINING}/resources.json"),
    output:
        table=f"{RESULTS}/resources.csv",
        figures=[f"{FIGURES}/{file}" for file in COST_FIGURES],
        notebook=f"{EXECUTED}/resources.ipynb",
    log:
        f"{LOGS}/resources.log",
    params:
        **given("resources"),
    shell:
        EXECUTE


rule paper:
    """Tables 1 and 2 and Figure 1, beside the reported numbers."""
    input:
        code=code("paper"),
        answers=evaluated(f"{EVALUATION}/answers.jsonl"),
        ablation=evaluated(f"{ABLATION}/answers.jsonl"),
        reported=REPORTED,
        example=FACTS["butterfly"],  # one of them is drawn in Figure 1
    output:
        tables=expand(f"{RESULTS}/{{name}}.csv", name=["table1", "table2", "paired", "unreadable", "comparison"]),
        figures=[f"{FIGURES}/{file}" for file in PAPER_FIGURES],
        notebook=f"{EXECUTED}/paper.ipynb",
    log:
        f"{LOGS}/paper.log",
    params:
        **given("paper"),
    shell:
        EXECUTE
