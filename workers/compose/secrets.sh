#!/bin/sh
# Creates the secrets that compose.yaml mounts, in ./secrets, and .env; existing files are kept. There are no defaults: without
# these files, nothing starts.
set -eu
cd "$(dirname "$0")"

# The folder is closed to other users of this host; the files are readable by any user of the containers.
umask 022
[ -e .env ] || cp example.env .env
# Prometheus reads here which other hosts to scrape (monitoring/prometheus.yaml).
mkdir -p secrets targets
chmod 700 secrets
cd secrets

random() { head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1; }
# make NAME TEXT: unless the file exists
make() { [ -e "$1" ] || printf '%s\n' "$2" >"$1"; }

make postgres-password "$(random 24)"
make redis-password "$(random 24)"
make prefect-auth "stenopool:$(random 24)"
# A Fernet key for the secrets that Prefect saves. If the key is lost or changed, they are unreadable.
make prefect-encryption-key "$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')"
make aws-access-key-id "$(random 10)"
make aws-secret-access-key "$(random 20)"
make grafana-password "$(random 16)"
# The first API key, with all scopes. Others: `python -m stenopool.api.keys NAME read,write >> secrets/api-keys`.
make api-key "$(random 32)"

# Derived from those.
make database-url "postgresql+asyncpg://prefect:$(cat postgres-password)@postgres:5432/prefect"
make redis-url "redis://:$(cat redis-password)@redis:6379/0"
make redis.conf "requirepass $(cat redis-password)"
make api-keys "first read,write,admin $(printf '%s' "$(cat api-key)" | sha256)"
make s3.json "{\"identities\": [{\"name\": \"stenopool\", \"credentials\": [{\"accessKey\": \"$(cat aws-access-key-id)\", \
\"secretKey\": \"$(cat aws-secret-access-key)\"}], \"actions\": [\"Admin\", \"Read\", \"Write\", \"List\", \"Tagging\"]}]}"

# Fill these in so that monitoring/alertmanager.yaml can send notifications. If empty, sending fails.
for name in alertmanager_pagerduty_key alertmanager_slack_url alertmanager_smtp_password; do make "$name" ""; done

echo "Secrets are in $PWD. Prefect's page asks for the text of prefect-auth, Grafana for admin and grafana-password; the API's key is in api-key."
