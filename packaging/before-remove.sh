#!/bin/sh
# Before a package is removed, not when it is upgraded: the service stops. Data and settings stay.
set -e
case "$1" in
remove | 0 | "")
	if [ -d /run/systemd/system ]; then
		systemctl disable --now rmq.service >/dev/null 2>&1 || true
	fi
	;;
esac
