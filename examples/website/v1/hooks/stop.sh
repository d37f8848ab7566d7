#!/bin/sh
# Stops the web server. In the next deployment this script comes from the revision that runs now, not from the new one.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/../site.env"
if [ ! -f "$PID_FILE" ]; then
	echo "version 1: no web server runs"
	exit 0
fi
pid=$(cat "$PID_FILE")
echo "version 1: stopping the web server, pid $pid"
kill "$pid" 2>/dev/null || true
tries=0
while [ -f "$PID_FILE" ] && kill -0 "$pid" 2>/dev/null; do # the server removes the file as the last thing
	tries=$((tries + 1))
	if [ "$tries" -gt 100 ]; then
		echo "version 1: the web server does not stop" >&2
		exit 1
	fi
	sleep 0.1
done
rm -f "$PID_FILE"
