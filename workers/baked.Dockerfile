# An image with weights, for installations without a mirror or volumes. The build context is the folder of weights: one sub-folder per
# model, named like the model.
#
#   docker build -f workers/baked.Dockerfile --build-arg IMAGE=ghcr.io/stenopool/stenopool:0.1.0-cpu -t stenopool:0.1.0-cpu-base ./weights
#
# Not the default: weights change rarely and code often, and large-v3 adds 3 GB that each node has to pull.
ARG IMAGE
# hadolint ignore=DL3006
FROM ${IMAGE}
# Not /models: that is a volume, and files copied into a volume are lost.
COPY --chown=0:0 . /opt/weights
ENV STENOPOOL_MODELS__PATH=/opt/weights
