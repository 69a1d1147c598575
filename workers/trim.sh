#!/bin/sh
# Takes out of an environment what nobody runs there: `trim.sh /opt/stenopool`. A third of the image without torch.
set -eu
cd "$1"/lib/python3.*/site-packages

# Debug sections and symbols: 67 MB of CTranslate2's binding alone, 30 MB of these others. Only where it was seen to work:
# patchelf has moved segments of many libraries in wheels, and strip leaves files of those that do not load.
stripped='./ctranslate2 ./asyncpg ./aiohttp ./cryptography ./hf_xet ./sqlalchemy ./tokenizers ./yaml'
# shellcheck disable=SC2086 # words are meant
find $stripped -name '*.so' -type f -exec strip --strip-unneeded {} +
# shellcheck disable=SC2086
find $stripped -name '*.so' -type f | "$1"/bin/python -c 'import ctypes, sys; [ctypes.CDLL(file.strip()) for file in sys.stdin]'

# Tests of packages, which import what is not installed.
find . -depth -type d \( -name tests -o -name test \) -exec rm -r {} +

# Descriptions of AWS services that we never speak to; boto3 names what is missing (UnknownServiceError).
find botocore/data -mindepth 1 -maxdepth 1 -type d \
    ! -name s3 ! -name sts ! -name 'sso*' ! -name signin ! -name sqs ! -name secretsmanager -exec rm -r {} +

# Converters and quantizers of models; running them needs none of these.
rm -rf onnxruntime/transformers onnxruntime/tools onnxruntime/quantization

# Prefect's newer page asks amplitude.com for instructions whenever it is opened; it is off (deployments/server.env).
rm -rf prefect/server/ui-v2
