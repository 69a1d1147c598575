# Weights baked in, for houses without a mirror or volumes. The build's folder is the folder of weights: one sub-folder per
# model, named like the model.
#
#   docker build -f workers/baked.Dockerfile --build-arg IMAGE=stenopool:0.1.0-cpu -t stenopool:0.1.0-cpu-base ./weights
#
# Not the default: weights change seldom and code often, and an image with large-v3 is 3 GB more for each node to fetch.
ARG IMAGE
# hadolint ignore=DL3006
FROM ${IMAGE}
# Not /models: that is a volume, and what is copied into one is lost.
COPY --chown=0:0 . /opt/weights
ENV STENOPOOL_MODELS__PATH=/opt/weights
