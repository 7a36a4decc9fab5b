#!/bin/sh
# Makes the bucket S3_BUCKET, which is a folder to versitygw, and serves it under DATA_DIR with what is given as options.
set -eu
data=${DATA_DIR:-/data}
mkdir -p "$data/buckets/${S3_BUCKET:?the bucket to make}" "$data/sidecar"
exec versitygw "$@" posix --sidecar "$data/sidecar" "$data/buckets"
