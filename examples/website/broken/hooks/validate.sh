#!/bin/sh
# Asks the web server for the page, as a visitor would. The page of this revision is wrong, so this fails.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/../site.env"
echo "version 3: asking http://$LISTEN/ for the page"
if "$STUB" fetch --expect "Welcome to version 3" "http://$LISTEN/"; then
	exit 0
fi
echo "version 3: the page is not the one that was to be deployed; look at html/index.html of this revision" >&2
exit 1
