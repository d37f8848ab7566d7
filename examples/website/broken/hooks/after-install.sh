#!/bin/sh
# Runs after the files are copied.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/../site.env"
echo "version 3: installed: $(cd "$DEST" && echo *)"
