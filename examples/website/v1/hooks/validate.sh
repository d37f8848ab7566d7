#!/bin/sh
# Asks the web server for the page, as a visitor would.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/../site.env"
echo "version 1: asking http://$LISTEN/ for the page"
"$STUB" fetch --expect "Welcome to version 1" "http://$LISTEN/"
