#!/bin/sh
# The commands of the image: head and worker start a node of a Ray cluster, ray and python run as they are, and
# everything else is a command of `recsys`, such as train and serve.
set -eu

# Prepare a node: it needs the cluster's token, and Serve's variables before Ray starts.
prepare_node() {
    token=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
    if [ -z "${RAY_AUTH_TOKEN:-}" ] && [ ! -s "$token" ]; then
        echo "recsys: $1 needs the token of the cluster: set RAY_AUTH_TOKEN, or mount a file at $token" >&2
        exit 2
    fi
    variables=$(python -m recsys.serving.host.environment "${TMPDIR:-/tmp}/recsys-node")
    eval "$variables"
    export RAY_AUTH_MODE=token
    # Ray lets a node finish its work for 30 s. Containers are killed 10 s after SIGTERM.
    export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="${RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S:-5}"
}

command=${1:-serve}
metrics=${RECSYS_METRICS_PORT:-8080}
[ $# -eq 0 ] || shift
# For health.py. A further command in a running container (docker exec) leaves it as it is.
running=${TMPDIR:-/tmp}/recsys-command
[ -e "$running" ] || echo "$command" > "$running"
case $command in
    serve) exec recsys serve --host 0.0.0.0 --port 8000 "$@" ;;
    head)
        prepare_node head
        exec ray start --head --block --port 6379 --dashboard-host 0.0.0.0 --metrics-export-port "$metrics" "$@"
        ;;
    worker)
        prepare_node worker
        exec ray start --block --metrics-export-port "$metrics" "$@"
        ;;
    ray | python) exec "$command" "$@" ;;
    *) exec recsys "$command" "$@" ;;
esac
