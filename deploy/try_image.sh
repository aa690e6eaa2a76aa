#!/usr/bin/env bash
# Tries an image: `try_image.sh IMAGE`. It trains on generated data, serves, is verified, and stops in time, with a
# read-only root file system as on ECS. Needs docker.
set -euo pipefail

[[ $# -eq 1 ]] || { echo "usage: try_image.sh IMAGE" >&2; exit 2; }
image=$1 name=recsys-try-$$
port=${TRY_PORT:-8000}
here=$(cd "$(dirname "$0")" && pwd)
volume="type=volume,source=$name,target=/var/lib/recsys"
# The volumes of deploy/ecs/service.yaml.
options=(--read-only --cap-drop ALL --security-opt no-new-privileges --shm-size 1g --tmpfs '/tmp:exec,mode=1777'
    --mount "$volume" --workdir /var/lib/recsys
    --env HOME=/var/lib/recsys --env RAY_AUTH_MODE=token)
cleanup() {
    docker rm --force "$name" > /dev/null 2>&1 || true
    docker volume rm --force "$name" > /dev/null 2>&1 || true
}
trap cleanup EXIT

docker volume create "$name" > /dev/null
docker run --rm --user 0 --entrypoint chmod --mount "$volume" "$image" \
    1777 /var/lib/recsys
docker run --rm "${options[@]}" "$image" train --data synthetic:0.02 --registry /var/lib/recsys/registry
docker run --detach --name "$name" --publish "127.0.0.1:$port:8000" "${options[@]}" "$image" \
    serve --registry /var/lib/recsys/registry --set topology=fused > /dev/null
if ! "$here/verify.sh" "http://127.0.0.1:$port"; then
    docker logs "$name" >&2
    exit 1
fi
docker stop --time 30 "$name" > /dev/null
code=$(docker inspect --format '{{.State.ExitCode}}' "$name")
[[ $code == 0 ]] || { echo "$image: the service ended with $code after SIGTERM, expected 0" >&2; exit 1; }
echo "$image: trains, serves and stops"
