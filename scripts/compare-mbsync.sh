#!/bin/sh
# Times mbsync and examples/migrate in turn between two private Dovecots, at
# round trips of 0, 20 and 100 ms, and prints a table; each copy is verified.
#
#   scripts/compare-mbsync.sh [-runs N] [-messages N] [-rtt 0,20,100] [-store sdbox] [-nosync] [-v]
#
# With -unchanged FOLDERS the account is that many folders of small messages, is
# copied once without a network, and only passes that find nothing to do are
# timed.
#
# The mail lies below $TMPDIR: with TMPDIR=/dev/shm the disk is left out of it.
# Everything runs on the loopback interface and in a temporary directory, and is
# gone afterwards. It needs Linux, root (a Dovecot changes its user), Go, and
# Debian's packages dovecot-imapd, isync and time; the last two are installed
# where they are missing.
set -eu
cd "$(dirname "$0")/.."

[ "$(id -u)" = 0 ] || { echo "compare-mbsync: root is needed to start a Dovecot" >&2; exit 2; }
[ -x /usr/sbin/dovecot ] || { echo "compare-mbsync: install dovecot-imapd first" >&2; exit 2; }
missing=
command -v mbsync >/dev/null || missing="$missing isync"
[ -x /usr/bin/time ] || missing="$missing time"
if [ -n "$missing" ]; then
	apt-get update -q
	# shellcheck disable=SC2086 # a list of words
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
go build -o "$tmp/migrate" ./examples/migrate
go build -o "$tmp/compare" ./internal/bench/compare
"$tmp/compare" -migrate "$tmp/migrate" "$@"
