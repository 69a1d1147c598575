#!/bin/sh
# Removes unused files from an environment: `trim.sh /opt/stenopool`. Saves a third of the image without torch.
set -eu
cd "$1"/lib/python3.*/site-packages

# Debug sections and symbols: 67 MB of CTranslate2's binding alone, 100 MB in total. patchelf has moved segments of some
# libraries in wheels, and strip makes those unloadable, because address and offset differ within a page: these
# are left unchanged. Not tested on torch's and CUDA's libraries, nor on those bundled with wheels (*.libs).
find . -name '*.so' -type f ! -path './*.libs/*' ! -path './torch*' ! -path './nvidia/*' | while read -r file; do
    strip --strip-unneeded -o stripped "$file"
    if readelf -lW stripped | awk '$1 == "LOAD" && substr($2, length($2) - 2) != substr($3, length($3) - 2) {exit 1}'; then
        cat stripped >"$file"
    fi
done
rm stripped

# Tests of packages, which import packages that are not installed.
find . -depth -type d \( -name tests -o -name test \) -exec rm -r {} +

# Descriptions of AWS services that Stenopool does not use; boto3 names a missing one (UnknownServiceError).
find botocore/data -mindepth 1 -maxdepth 1 -type d \
    ! -name s3 ! -name sts ! -name 'sso*' ! -name signin ! -name sqs ! -name secretsmanager -exec rm -r {} +

# Converters and quantizers of models, which inference does not need.
rm -rf onnxruntime/transformers onnxruntime/tools onnxruntime/quantization

# Prefect's newer page contacts amplitude.com whenever it is opened; it is off (deployments/server.env).
rm -rf prefect/server/ui-v2

# Manuals that packages bring along.
rm -rf uniseg/docs

# Stubs and declarations, for type checkers and compilers. Only lazy_loader reads stubs at run time; the image without
# torch does not have it.
if [ ! -d lazy_loader ]; then
    find . -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' \) -delete
fi
