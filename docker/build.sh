#!/usr/bin/env bash
# Build the image: with Docker where its daemon runs, else with buildah, which takes root and Debian.
#
#     docker/build.sh [NAME]        # recsys:latest
#
# WITHOUT='pytest|xgboost' leaves packages out, see the Dockerfile. DEBIAN_MIRROR is for the base that is made here.
set -euo pipefail
cd "$(dirname "$0")/.."

base=docker.io/library/debian:bookworm-slim
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
options=(
    --tag "${1:-recsys:latest}"
    --build-arg "VERSION=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' recsys/__init__.py)"
    --build-arg "REVISION=$(git describe --always --dirty --abbrev=40 2> /dev/null || echo unknown)"
)
[ -z "${WITHOUT:-}" ] || options+=(--build-arg "WITHOUT=$WITHOUT")

if command -v docker > /dev/null && docker info > /dev/null 2>&1; then
    exec docker build "${options[@]}" .
fi

# netavark and runc are for `make test-image`, which runs the image.
needed=(buildah podman debootstrap runc netavark aardvark-dns)
missing=()
for package in "${needed[@]}"; do
    dpkg-query --show --showformat '${db:Status-Status}' "$package" 2> /dev/null | grep -qx installed ||
        missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -q > /dev/null
    apt-get install -qy --no-install-recommends "${missing[@]}" > /dev/null
fi

# The base by Debian's own means, where no registry is reached: as the published one, with what Debian has fixed since.
make_base() (
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    chmod 755 "$root" # the folder becomes /
    debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror" > /dev/null
    cat > "$root/etc/apt/sources.list" << END
deb $mirror bookworm main
deb $mirror bookworm-updates main
deb ${mirror%/debian}/debian-security bookworm-security main
END
    chroot "$root" apt-get update -q > /dev/null
    chroot "$root" apt-get upgrade -qy > /dev/null
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/usr/share/doc/* "$root"/usr/share/man/* \
        "$root"/usr/share/locale/* "$root"/var/log/*
    tar -C "$root" -c . | podman import --quiet - "$base" > /dev/null
)

if ! buildah inspect --type image "$base" > /dev/null 2>&1 && ! buildah pull --quiet "$base" > /dev/null 2>&1; then
    make_base
fi

# The settings of a package mirror and its certificates are mounted: they end with the build.
mounts=()
[ ! -e /etc/pip.conf ] ||
    mounts=(--volume /etc/pip.conf:/etc/pip.conf:ro --volume /etc/ssl/certs:/etc/ssl/certs:ro)

# --format docker keeps the health check. chroot needs no rights beyond root's.
exec buildah build --isolation chroot --network host --format docker --layers --pull=never "${mounts[@]}" \
    "${options[@]}" .
