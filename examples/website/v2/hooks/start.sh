#!/bin/sh
# Starts the web server in the background. It closes its outputs, so the hook ends at once.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/../site.env"
echo "version 2: starting the web server"
"$STUB" web --dir "$DEST" --listen "$LISTEN" --pid-file "$PID_FILE"
