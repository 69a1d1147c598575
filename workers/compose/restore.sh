#!/bin/sh
# ./restore.sh FOLDER: replaces the data of this installation with those of a backup.
set -eu
folder=$(cd "${1:?Usage: ./restore.sh FOLDER}" && pwd)
cd "$(dirname "$0")"

for file in secrets .env stenopool.env; do
    [ -e "$file" ] || [ ! -e "$folder/$file" ] || cp -Rp "$folder/$file" .
done
# The database and what Prefect encrypted in it open with the secrets of the backup only.
if ! diff -r "$folder/secrets" secrets >/dev/null; then
    echo "This installation has other secrets than the backup. Remove it first: docker compose down --volumes; rm -r secrets" >&2
    exit 1
fi
./secrets.sh >/dev/null

docker compose down
docker compose up -d --wait postgres
docker compose exec -T postgres pg_restore --username=prefect --dbname=prefect --clean --if-exists <"$folder/prefect.dump"
docker compose run --rm -T --no-deps --entrypoint sh seaweedfs -c 'find /data -mindepth 1 -delete; tar -C /data -xf -' <"$folder/seaweedfs.tar"
docker compose up -d
