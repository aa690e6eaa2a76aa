# The image of recsys: `docker build -t recsys .`, or `make image` where no daemon runs; see docs/how-to/image.md.

FROM debian:bookworm-slim AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Debian's mirrors keep the last version of a package alone, so a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends g++ gcc libc6-dev python3-dev python3-pip python3-venv && \
    rm -rf /var/lib/apt/lists/*
# Packages that are left out, as a regular expression. 'pytest|xgboost' makes an image without `ranker.backend=xgboost`.
ARG WITHOUT=pytest
# cmfrec would use the instructions of the machine that builds, which other machines may not have.
ENV DONT_SET_MARCH=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements.txt constraints.txt ./
# The environment has no pip of its own: nothing is installed after the build.
RUN python3 -m venv --without-pip /opt/recsys && \
    grep -vE "^($WITHOUT)" requirements.txt > runtime.txt && \
    python3 -m pip --python /opt/recsys/bin/python install --quiet --constraint constraints.txt --requirement runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY recsys recsys
RUN python3 -m pip --python /opt/recsys/bin/python install --quiet --no-deps .
# Ray's Java workers, headers, and the tests of libraries: nothing here loads them.
WORKDIR /opt/recsys/lib/python3.11/site-packages
RUN rm -rf ray/jars ray/cpp pyarrow/include pyarrow/src pyarrow/tests pandas/tests && \
    find scipy sklearn -type d -name tests -prune -exec rm -rf {} +

FROM debian:bookworm-slim
# libgomp1: LightGBM and cmfrec use threads through it. tini reaps processes and passes signals on.
# hadolint ignore=DL3008,SC2016
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates libgomp1 python3 tini && \
    rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log && \
    groupadd --gid 10001 recsys && \
    useradd --uid 10001 --gid recsys --create-home --shell /usr/sbin/nologin recsys && \
    # Any user may write here, so that a container can run as another one (--user).
    install -d -o recsys -g recsys -m 1777 /data /home/recsys && \
    # A login shell, which KubeRay uses, sets PATH anew.
    echo 'PATH=/opt/recsys/bin:$PATH' > /etc/profile.d/recsys.sh
COPY --from=build /opt/recsys /opt/recsys
COPY docker/entrypoint.sh /usr/local/bin/entrypoint
COPY docker/health.py serve.yaml serve_app.py train_job.py /app/
# PYTHONPATH: `serve deploy /app/serve.yaml` imports serve_app.
ENV PATH=/opt/recsys/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    HOME=/home/recsys \
    MPLCONFIGDIR=/tmp/matplotlib \
    RAY_AUTH_MODE=token \
    RECSYS_METRICS_PORT=8080 \
    RAY_USAGE_STATS_ENABLED=0
# At the end: the revision changes with every commit.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="recsys" \
      org.opencontainers.image.description="A hybrid e-commerce recommender that trains and serves on Ray" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
USER 10001:10001
# Relative paths, such as the default registry, lie on the volume.
WORKDIR /data
EXPOSE 8000 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=2m --retries=3 CMD ["python", "/app/health.py"]
ENTRYPOINT ["tini", "--", "entrypoint"]
CMD ["serve"]
