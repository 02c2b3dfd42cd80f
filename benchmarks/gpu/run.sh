#!/usr/bin/env bash
# One command for a machine with a GPU: estimates and measured text-only steps of both 7B architectures, random weights.
#     benchmarks/gpu/run.sh results.txt
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${1:?usage: benchmarks/gpu/run.sh FILE}
{
  date -u +%F
  nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv
  for batch in 1 4 8; do
    PYTHONPATH=src python -m helpers.models.rehearse --batch "$batch" --steps 10
  done
  PYTHONPATH=src python -m helpers.models.rehearse --batch 4 --checkpointing --steps 10
} | tee "$out"
