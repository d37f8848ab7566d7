#!/bin/sh
# Runs before the files are copied: the old ones are still there.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/../site.env"
echo "version 1: preparing $DEST for deployment $DEPLOYMENT_ID"
if [ -d "$DEST" ]; then
	echo "version 1: there now: $(cd "$DEST" && echo *)"
else
	echo "version 1: nothing there yet"
fi
