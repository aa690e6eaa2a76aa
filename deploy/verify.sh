#!/usr/bin/env bash
# Verifies a running service: `verify.sh URL`. Exit code 0 if it is healthy and recommends, 1 if it is not, 2 for a
# wrong call. The last line has the reason.
#
# VERIFY_SECONDS  how long to wait for a healthy service (120)
# VERIFY_USER     a user id of the shop's type; the user may be unknown (1)
# RECSYS_API_KEY  a key that may ask for recommendations; none if the service has no keys
set -euo pipefail

[[ $# -eq 1 && $1 =~ ^https?:// ]] || { echo "usage: verify.sh URL, such as https://shop.example" >&2; exit 2; }
url=${1%/}
seconds=${VERIFY_SECONDS:-120}
user=${VERIFY_USER:-1}
body=$(mktemp)
trap 'rm -f "$body"' EXIT

# Ask for a path, with the key: the status to stdout, the body to a file. The key is no argument, which others could
# read in the list of processes. Nothing is retried here, and redirects are not followed.
ask() {
    local header=""
    [[ -z ${RECSYS_API_KEY:-} ]] || header="header = \"X-API-Key: $RECSYS_API_KEY\""
    curl --config - --silent --max-time 10 --output "$body" --write-out '%{http_code}' "$url$1" <<< "$header" || true
}

# A text of the body, or the number of entries of a list in it; empty where the body has neither of that name.
field() {
    python3 -c '
import json, sys
try:
    value = json.load(open(sys.argv[1], encoding="utf-8")).get(sys.argv[2])
except (ValueError, AttributeError):
    value = None
print(len(value) if isinstance(value, list) else value if isinstance(value, str) else "")
' "$body" "$1"
}

fail() {
    echo "$url: $1" >&2
    exit 1
}

end=$((SECONDS + seconds))
while status=$(ask /health) && [[ $status != 200 ]]; do
    ((SECONDS < end)) || fail "/health answered $status for $seconds s, expected 200: $(head -c 300 "$body")"
    sleep 1
done
version=$(field model_version)
[[ -n $version ]] || fail "/health names no version: $(head -c 300 "$body")"

status=$(ask "/recommend/$user?n=5&cold_start=true")
[[ $status == 200 ]] || fail "/recommend/$user answered $status, expected 200: $(head -c 300 "$body")"
count=$(field recommendations)
[[ ${count:-0} -gt 0 ]] || fail "/recommend/$user has no items: $(head -c 300 "$body")"
echo "$url: healthy with version $version, recommends $count items"
