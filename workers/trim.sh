#!/bin/sh
# Takes out of an environment what nobody runs there: `trim.sh /opt/stenopool`. A third of the image without torch.
set -eu
cd "$1"/lib/python3.*/site-packages

# Debug sections and symbols: 67 MB of CTranslate2's binding alone, 100 MB in all. patchelf has moved segments of some
# libraries in wheels, and strip leaves files of those that do not load, for address and offset differ within a page: these
# stay as they were. Not tried on torch's and CUDA's own, nor on what wheels bring along (*.libs).
find . -name '*.so' -type f ! -path './*.libs/*' ! -path './torch*' ! -path './nvidia/*' | while read -r file; do
    strip --strip-unneeded -o stripped "$file"
    if readelf -lW stripped | awk '$1 == "LOAD" && substr($2, length($2) - 2) != substr($3, length($3) - 2) {exit 1}'; then
        cat stripped >"$file"
    fi
done
rm stripped

# Tests of packages, which import what is not installed.
find . -depth -type d \( -name tests -o -name test \) -exec rm -r {} +

# Descriptions of AWS services that we never speak to; boto3 names what is missing (UnknownServiceError).
find botocore/data -mindepth 1 -maxdepth 1 -type d \
    ! -name s3 ! -name sts ! -name 'sso*' ! -name signin ! -name sqs ! -name secretsmanager -exec rm -r {} +

# Converters and quantizers of models; running them needs none of these.
rm -rf onnxruntime/transformers onnxruntime/tools onnxruntime/quantization

# Prefect's newer page asks amplitude.com for instructions whenever it is opened; it is off (deployments/server.env).
rm -rf prefect/server/ui-v2

# Stubs and declarations, for type checkers and compilers. lazy_loader alone reads stubs when it runs; the image without
# torch has none.
if [ ! -d lazy_loader ]; then
    find . -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' \) -delete
fi
