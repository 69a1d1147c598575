#!/bin/sh
# ./backup.sh FOLDER: copies the data of this installation. Meanwhile, everything except the database is stopped, so that receipts
# and transcripts match; then it starts again, and runs that were in progress resume from their checkpoints.
set -eu
umask 077
mkdir -p "${1:?Usage: ./backup.sh FOLDER}"
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")"

trap 'docker compose up -d' EXIT
# shellcheck disable=SC2046
docker compose stop $(docker compose ps --services | grep -vx postgres)
docker compose exec -T postgres pg_dump --username=prefect --format=custom prefect >"$folder/prefect.dump.part"
# The volume, not its objects: a client that uploads large objects again gives them another ETag, and a recording with another
# ETag counts as new.
docker compose run --rm -T --no-deps --entrypoint tar seaweedfs -C /data -cf - . >"$folder/seaweedfs.tar.part"
rm -rf "$folder/secrets"
cp -Rp secrets "$folder/"
for file in .env stenopool.env; do [ ! -e "$file" ] || cp -p "$file" "$folder/"; done
for file in prefect.dump seaweedfs.tar; do mv "$folder/$file.part" "$folder/$file"; done
echo "The backup is in $folder. It contains all secrets: keep it closed."
