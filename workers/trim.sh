#!/bin/sh
# Takes out of an environment what nobody runs there: `trim.sh /opt/stenopool`. A third of the image without torch.
set -eu
cd "$1"/lib/python3.*/site-packages

# Debug sections, 67 MB of CTranslate2's binding alone. Not those of av and numpy, nor of libraries in wheels (*.libs):
# patchelf has moved their segments, and strip leaves files of them that do not load.
find . -name '*.so' -type f ! -path './*.libs/*' ! -path './av/*' ! -path './numpy/*' -exec strip --strip-unneeded {} +

# Tests of packages, which import what is not installed.
find . -depth -type d \( -name tests -o -name test \) -exec rm -r {} +

# Descriptions of AWS services that we never speak to; boto3 names what is missing (UnknownServiceError).
find botocore/data -mindepth 1 -maxdepth 1 -type d \
    ! -name s3 ! -name sts ! -name 'sso*' ! -name signin ! -name sqs ! -name secretsmanager -exec rm -r {} +

# Converters and quantizers of models; running them needs none of these.
rm -rf onnxruntime/transformers onnxruntime/tools onnxruntime/quantization

# Prefect's newer page asks amplitude.com for instructions whenever it is opened; it is off (deployments/server.env).
rm -rf prefect/server/ui-v2
