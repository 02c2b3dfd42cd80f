#!/usr/bin/env bash
# Both 7B architectures with random weights on this machine's GPU, beside its peers, in one command:
#     benchmarks/gpu/run.sh results.csv            about an hour on one H100
#     benchmarks/gpu/run.sh results.csv --small    shrunk models, also without a GPU: minutes
# The peers are TRL, LLaMA-Factory and, on a GPU, Unsloth. Each gets an environment of its own in ../peers (or in $PEERS);
# one that does not install is left out, and said so.
# If the package liger-kernel is in the project's environment, its fused loss is used, and measured against ours without.
# PYTHON: the project's Python; by default the active environment's, or .venv's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${1:?usage: benchmarks/gpu/run.sh FILE.csv [--small]}
peers=${PEERS:-../peers}
if [[ -z ${PYTHON:-} ]]; then PYTHON=$([[ -n ${VIRTUAL_ENV:-} ]] && echo "$VIRTUAL_ENV/bin/python" || echo .venv/bin/python); fi
export PYTHONPATH=$PWD/src

version() { "$PYTHON" -c "from importlib.metadata import version; print(version('$1').split('+')[0])"; }

peer() { # peer NAME PACKAGE...: the option for bench_gpu.py, or nothing if the environment cannot be made
    local name=$1 python=$peers/$1/bin/python
    shift
    if [[ ! -f $peers/$name/.ready ]]; then
        {
            "$PYTHON" -m venv "$peers/$name" && "$python" -m pip install --quiet "$@" && touch "$peers/$name/.ready"
        } >&2 || { echo "$name could not be installed; it is left out" >&2; return 0; }
    fi
    echo "--$name $python"
}

shared=(pydantic pandas psutil pyyaml pillow)
ours=("torch==$(version torch)" "transformers==$(version transformers)" "peft==$(version peft)"
    "bitsandbytes==$(version bitsandbytes)")
options=$(peer trl "${ours[@]}" "${shared[@]}" trl==1.16.0)
# It asks for older versions of transformers, peft and trl. torchvision and torchaudio have to fit torch's build: as long as
# all three come from one index, they do.
options+=" $(peer llamafactory "torch==$(version torch)" "bitsandbytes==$(version bitsandbytes)" "${shared[@]}" \
    llamafactory==0.9.5)"
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv
    options+=" $(peer unsloth "${shared[@]}" unsloth)" # it brings versions of its own
fi
# shellcheck disable=SC2086  # the options are words
exec "$PYTHON" benchmarks/gpu/bench_gpu.py "$out" $options "${@:2}"
