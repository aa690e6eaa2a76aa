#!/usr/bin/env bash
# Pushes an image to a repository of ECR: `push.sh IMAGE REPOSITORY`, where REPOSITORY is
# ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME and the tag of IMAGE is the commit. Prints `uri=REPOSITORY@DIGEST`.
set -euo pipefail

[[ $# -eq 2 && $1 == *:* && $2 == *.dkr.ecr.*/* ]] || { echo "usage: push.sh IMAGE:TAG REPOSITORY" >&2; exit 2; }
image=$1 repository=$2
pushed=$repository:${image##*:}

aws ecr get-login-password | docker login --username AWS --password-stdin "${repository%%/*}" >&2
docker tag "$image" "$pushed"
docker push --quiet "$pushed" >&2
# The digest of this repository; the image may have others.
docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$pushed" |
    grep -F "$repository@sha256:" | head -n 1 | sed 's/^/uri=/'
