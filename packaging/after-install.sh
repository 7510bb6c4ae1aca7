#!/bin/sh
# After a package was installed: the user that the service runs as. Starting it is for whoever
# runs the machine to decide.
set -e
if ! getent passwd rmq >/dev/null 2>&1; then
	if command -v useradd >/dev/null 2>&1; then
		useradd --system --user-group --home-dir /var/lib/rmq --no-create-home --shell /usr/sbin/nologin rmq
	else # Alpine
		addgroup -S rmq
		adduser -S -D -H -h /var/lib/rmq -s /sbin/nologin -G rmq rmq
	fi
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
