# Packages and what is published of them. The Makefile includes this and sets VERSION.
DIST ?= dist

.PHONY: packages release-tree lab

# rpm, deb and apk for amd64 and arm64, checksums and bills of materials. SIGNING_KEY=FILE signs them.
packages:
	VERSION=$(VERSION) DIST=$(DIST) packaging/build

# The layout that installers expect, to be copied to a bucket or any web server.
release-tree: packages
	VERSION=$(VERSION) DIST=$(DIST) packaging/release-tree

# Everything that needs a guest under a real systemd, from a fresh root.
lab:
	internal/lab/prepare
	go test -count=1 ./internal/lab ./packaging/...
