# The image without torch and CUDA, for Prefect server, workers, API and exporter. It prepares, and transcribes with the default engine
# (diarization off, or one speaker per channel).
#
#   docker build -f workers/cpu.Dockerfile -t stenopool:0.1.0-cpu .
#
# No `# syntax=` line: it would pull another image at each build, and nothing here needs a newer frontend.

# The digests decide; the tags are for readers. Renovate updates both (.github/renovate.json). Debian 12: its
# Python is 3.11, which uv.lock is tested with, and Debian maintains it.
ARG DEBIAN=docker.io/library/debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171
ARG UV=ghcr.io/astral-sh/uv:0.13.0@sha256:cdc6093146eb3ff6a40107b38f008b789e050e77ad87865e381d9917da55a168

FROM ${UV} AS uv

FROM ${DEBIAN} AS base
# No versions here: Debian removes the old version of a package after a fix, and fixes should be installed.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*

FROM base AS builder
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
COPY --from=uv /uv /usr/local/bin/uv
# LINK_MODE: the cache is a separate mount, so hard links to it are impossible. PYTHON_DOWNLOADS: use only Debian's Python.
# SYSTEM_CERTS: uv trusts a company proxy if the base image does.
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_DEV=1 \
    UV_PROJECT_ENVIRONMENT=/opt/stenopool \
    UV_PYTHON=/usr/bin/python3 \
    UV_PYTHON_DOWNLOADS=never \
    UV_SYSTEM_CERTS=1
WORKDIR /src
# Dependencies first, because they change rarely: a change of Stenopool's code does not reinstall them.
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=bind,source=uv.lock,target=/src/uv.lock \
    --mount=type=bind,source=workers/trim.sh,target=/src/trim.sh \
    uv sync --locked --no-install-project --extra server --extra kubernetes --extra api \
 && sh trim.sh /opt/stenopool
COPY . .
# Not editable: the sources stay in this build stage.
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --no-editable --extra server --extra kubernetes --extra api

FROM base AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="stenopool" \
      org.opencontainers.image.description="Speech-to-text for whole buckets: server, workers and API, without torch" \
      org.opencontainers.image.source="https://github.com/stenopool/stenopool" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}-cpu" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
# Group 0 may write, as on OpenShift, where the user is arbitrary; files in volumes also have group 0 (fsGroup).
RUN useradd --uid 10001 --gid 0 --no-create-home --home-dir /tmp stenopool \
 && install -d -o 10001 -g 0 -m 0775 /models /recordings /transcripts
COPY --from=builder /opt/stenopool /opt/stenopool
# One folder for everything that a run writes, so that the root may be read-only; Prefect's telemetry is off.
ENV PATH=/opt/stenopool/bin:$PATH \
    PYTHONSAFEPATH=1 \
    DO_NOT_TRACK=1 \
    HF_HOME=/models/hub \
    HOME=/tmp \
    LOGNAME=stenopool \
    PREFECT_HOME=/tmp/prefect \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PYANNOTE_METRICS_ENABLED=0 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STENOPOOL_MODELS__CACHE=/models \
    STENOPOOL_SCRATCH__DIR=/tmp \
    # Prefect unpacks its page here; by default next to its code.
    PREFECT_SERVER_UI_STATIC_DIRECTORY=/tmp/prefect-ui
# With `docker run --read-only`, these two are writable without further options. Weights come from the volume /models, from the
# mirror (STENOPOOL_MODELS__MIRROR), or are part of the image (baked.Dockerfile).
VOLUME ["/tmp", "/models"]
# An empty working directory: without a pull step in the deployment, Prefect copies it.
WORKDIR /
USER 10001:0
# tini: as process 1, Python would ignore signals that it does not handle, and would leave the children of killed runs
# as zombies. The entry point (secrets into the environment) then executes the command.
ENTRYPOINT ["/usr/bin/tini", "--", "python", "-P", "-m", "stenopool.orchestration.workers.container", "run"]
CMD ["stenopool", "--help"]
# The address depends on the program: it is in STENOPOOL_HEALTH.
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=3 CMD ["python", "-P", "-m", "stenopool.orchestration.workers.container", "health"]
