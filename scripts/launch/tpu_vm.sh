#!/bin/bash
# Creates a Cloud TPU slice, installs jaxseg on all its workers and trains there; a
# preempted slice is created anew and the run goes on:
#
#   NAME=seg ZONE=us-east1-d TYPE=v6e-32 BUCKET=my-bucket \
#     scripts/launch/tpu_vm.sh configs/cityscapes.py x [flags]
#
# Data and workdir are in the bucket, which every worker mounts at /mnt/bucket. It must be
# one with a hierarchical namespace, in which folders can be renamed:
#   gcloud storage buckets create gs://my-bucket --location=us-east1 \
#     --uniform-bucket-level-access --enable-hierarchical-namespace
# Needed: gcloud, set to your project, and a queue or quota for the type.
set -euo pipefail
: "${NAME:?}" "${ZONE:?}" "${TYPE:?}" "${BUCKET:?}"
VERSION=${VERSION:-v2-alpha-tpuv6e}  # of the TPU's software, by the type
config=$1 run=$2
shift 2
root=$(cd "$(dirname "$0")/../.." && pwd)

on_all() { gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=all --command="$1"; }

state() {
  gcloud compute tpus queued-resources describe "$NAME" --zone="$ZONE" \
    --format='value(state.state)' 2>/dev/null || echo NONE
}

create() {
  gcloud compute tpus queued-resources delete "$NAME" --zone="$ZONE" --force --quiet || true
  gcloud compute tpus queued-resources create "$NAME" --node-id="$NAME" --zone="$ZONE" \
    --accelerator-type="$TYPE" --runtime-version="$VERSION" --spot
  until [ "$(state)" = ACTIVE ]; do
    if [ "$(state)" = FAILED ]; then
      echo "the slice cannot be had: gcloud compute tpus queued-resources describe $NAME" >&2
      exit 1
    fi
    sleep 30
  done
  git -C "$root" archive --prefix=jaxseg/ -o /tmp/jaxseg.tar HEAD
  gcloud compute tpus tpu-vm scp /tmp/jaxseg.tar "$NAME": --zone="$ZONE" --worker=all
  on_all "tar xf jaxseg.tar && python3 -m venv venv && \
    venv/bin/pip install -q './jaxseg[tfds]' 'jax[tpu]'"
}

# The same command on all workers; they find each other through the TPU's metadata.
train="sudo mkdir -p /mnt/bucket && sudo chmod 777 /mnt/bucket && \
  (mountpoint -q /mnt/bucket || gcsfuse --implicit-dirs '$BUCKET' /mnt/bucket) && \
  cd jaxseg && JAX_COMPILATION_CACHE_DIR=/mnt/bucket/xla ../venv/bin/python \
  scripts/launch/train.py --config=$config --workdir=/mnt/bucket/runs/$run \
  $(printf '%q ' "$@")"

[ "$(state)" = ACTIVE ] || create
attempts=0
until on_all "$train"; do
  sleep 60  # a preemption shows in the state with some delay
  if [ "$(state)" != ACTIVE ]; then
    echo "preempted; a new slice goes on from the last checkpoint" >&2
    create
  elif ! on_all "test -e /mnt/bucket/runs/$run/checkpoints"; then
    echo "the run failed before its first checkpoint: see the error above" >&2
    exit 1
  elif [ $((attempts += 1)) -gt 5 ]; then
    echo "the run stopped 5 times on a slice that stands: see the errors above" >&2
    exit 1
  fi
done
