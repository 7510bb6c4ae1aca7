#!/bin/sh
# Runs rmq under unmodified Python clients (paho-mqtt, confluent-kafka, pika): builds the
# binary, installs the clients into a throw-away environment, starts a broker on free
# ports, runs python_clients.py and stops the broker. Needs go and python3 with venv.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
export XDG_RUNTIME_DIR="$work" XDG_DATA_HOME="$work" XDG_CONFIG_HOME="$work"
stop() {
	"$work/bin/rmq" down --if-running >/dev/null 2>&1 || true
	rm -rf "$work"
}
trap stop EXIT
(cd "$here/../.." && go build -o "$work/bin/rmq" ./cmd/rmq)
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check paho-mqtt confluent-kafka pika
"$work/bin/rmq" up --data "$work/data" --any-port --detach --wait >/dev/null
"$work/bin/rmq" status -o json >"$work/status.json"
"$work/venv/bin/python" "$here/python_clients.py" "$work/status.json"
