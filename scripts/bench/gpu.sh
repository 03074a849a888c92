#!/usr/bin/env bash
# All that is to be measured on a GPU, in under 9 minutes: JSON lines and a table.
#   scripts/bench/gpu.sh OUTPUT_FOLDER
# Needs jax[cuda12 or cuda13], this package, and for the peers torch with CUDA,
# torchvision, segmentation-models-pytorch and torchmetrics.
set -uo pipefail # a case that fails must not end the rest
out=$1
cd "$(dirname "$0")/../.."
mkdir -p "$out"
export XLA_PYTHON_CLIENT_PREALLOCATE=false # the peers share the card
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | tee "$out/gpu.txt"
bench() { timeout "$1" python "scripts/bench/$2.py" "${@:4}" | tee "$out/$3.jsonl"; }
bench 60 loss loss --rounds 5
bench 75 conv conv_bf16 --batch 16 --dtype bfloat16 --only aspp --rounds 3
for network in deeplabv3_resnet50 deeplabv3_resnet101 fcn_resnet50; do
  bench 75 train "train_$network" --network "$network" --batch 16 --size 512 1024
done
bench 75 train train_769 --network deeplabv3_resnet50 --batch 16 --size 769 769
bench 90 infer infer --rounds 5
python scripts/bench/report.py "$out"/*.jsonl >"$out/tables.md"
