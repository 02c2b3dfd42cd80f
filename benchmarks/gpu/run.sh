#!/usr/bin/env bash
# Both 7B architectures with random weights on this machine's GPU, beside their peers (benchmarks/gpu/one.py):
#     benchmarks/gpu/run.sh first rows.jsonl     at most 470 s: the most telling rows, Qwen2-VL
#     benchmarks/gpu/run.sh second rows.jsonl    at most 300 s: GPU tests, then LLaVA-NeXT and scoring
#     benchmarks/gpu/run.sh all rows.jsonl       with an environment for each peer in ../peers (or in $PEERS), no limit
#     benchmarks/gpu/run.sh table rows.jsonl h100.csv
#     benchmarks/gpu/run.sh wheels FOLDER        for a machine without network that has torch: what else is needed, within
#                                                the 64 MiB that it and the tracked files may take together
# Further words are options of one.py, such as --small. WHEELS=FOLDER: install from that folder first, beside what is there.
# PYTHON: the project's Python; by default the active environment's, .venv's, or python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
part=${1:?usage: benchmarks/gpu/run.sh first|second|all|table|wheels FILE [OPTION...]}
out=${2:?name the file of rows, or the folder of wheels}
shift 2
if [[ -z ${PYTHON:-} ]]; then
    PYTHON=python3
    [[ -x .venv/bin/python ]] && PYTHON=.venv/bin/python
    [[ -n ${VIRTUAL_ENV:-} ]] && PYTHON=$VIRTUAL_ENV/bin/python
fi
export PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TOKENIZERS_PARALLELISM=false

install() { # wheels of $WHEELS into a folder that is used instead of what the machine has
    local site=${TMPDIR:-/tmp}/benchmark-site
    "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade \
        --target "$site" "$WHEELS"/*.whl
    PYTHONPATH=$PYTHONPATH:$site
}

version() { "$PYTHON" -c "from importlib.metadata import version; print(version('$1').split('+')[0])"; }

peer() { # peer NAME PACKAGE...: the option for one.py, or nothing if the environment cannot be made
    local name=$1 folder=${PEERS:-../peers}/$1
    shift
    if [[ ! -f $folder/.ready ]]; then
        {
            "$PYTHON" -m venv "$folder" && "$folder/bin/python" -m pip install --quiet "$@" && touch "$folder/.ready"
        } >&2 || { echo "$name could not be installed; it is left out" >&2; return 0; }
    fi
    echo "--$name $folder/bin/python"
}

run() { "$PYTHON" benchmarks/gpu/one.py "$out" "$@"; }

[[ -z ${WHEELS:-} || $part == wheels ]] || install
case $part in
first) run --parts first --seconds 400 "$@" ;;
second)
    if [[ " $* " != *" --small "* ]]; then
        TEST_GPU=1 timeout 120 "$PYTHON" -m pytest tests/test_gpu.py -n 0 -q || echo "the GPU tests did not all pass" >&2
    fi
    run --parts second --seconds 130 "$@"
    ;;
all)
    shared=(pydantic pandas psutil pyyaml pillow)
    # It asks for older versions of transformers, peft and trl. torchvision and torchaudio have to fit torch's build: as
    # long as all three come from one index, they do.
    options=$(peer llamafactory "torch==$(version torch)" "bitsandbytes==$(version bitsandbytes)" "${shared[@]}" \
        llamafactory==0.9.5)
    if command -v nvidia-smi >/dev/null; then options+=" $(peer unsloth "${shared[@]}" unsloth)"; fi # its own versions
    # shellcheck disable=SC2086  # the options are words
    run $options "$@"
    ;;
table) run --table "${1:?name the table}" ;;
wheels) "$PYTHON" benchmarks/gpu/wheels.py "$out" "$@" ;;
*) echo "unknown: $part" >&2 && exit 2 ;;
esac
