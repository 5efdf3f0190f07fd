#!/bin/sh
# Fetches the Debian packages of the servers that would conflict if they were
# installed, and unpacks them below the cache folder of package testserver: one
# folder for each server, made under another name and renamed when it is whole.
# What is there already stays. It needs Debian's package lists and dpkg.
set -eu
cache=${MAILHAUL_SERVER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mailhaul}
arch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")
apt-cache show cyrus-pop3d >/dev/null 2>&1 || apt-get update -q >/dev/null
mkdir -p "$cache"
cd "$cache"

unpack() {
	kind=$1
	shift
	[ ! -d "$kind/usr" ] || return 0
	work=$(mktemp -d "$cache/.unpack.XXXXXX")
	chmod 755 "$work"
	(
		mkdir "$work/debs" "$work/root"
		chmod 755 "$work/debs" "$work/root"
		cd "$work/debs"
		apt-get download -q "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
		for deb in *.deb; do
			dpkg -x "$deb" "$work/root"
		done
	) || { rm -rf "$work"; return 1; }
	# An overlay of /usr carries only what is below usr.
	if [ -d "$work/root/lib/$arch" ]; then
		mkdir -p "$work/root/usr/lib/$arch"
		cp -a "$work/root/lib/$arch/." "$work/root/usr/lib/$arch/"
	fi
	rm -rf "$work/root/lib" "$work/root/usr/share" "$work/root/usr/lib/$arch/guile"
	rm -rf "$kind"
	mv "$work/root" "$kind"
	rm -rf "$work"
	echo "unpacked $kind"
}

unpack cyrus cyrus-common cyrus-imapd cyrus-pop3d cyrus-replication sasl2-bin libical3 libxapian30 libpcre3
unpack courier courier-imap courier-pop courier-base courier-authlib courier-authlib-userdb courier-authdaemon \
	libcourier-unicode4 gamin libgamin0 libltdl7 libpcre3 libidn12
unpack mailutils mailutils-imap4d mailutils-pop3d libmailutils9 libmu-dbm9 guile-3.0-libs libmariadb3 \
	libkyotocabinet16v5 liblzo2-2 libltdl7 libgsasl18 libntlm0 libidn12 libgssglue1
unpack popa3d popa3d
unpack solid solid-pop3d liblockfile1
