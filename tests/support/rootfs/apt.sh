# apt.sh: Debian packages into a root file system, from this host's own sources. Read by `make` here and by
# tests/vm/make-tree. Wants $dir, where downloaded packages stay, in $dir/debs.

# One line per suite of Debian's main component that this host's sources name: URI and release.
debian_sources() {
	apt-get indextargets --format '$(ORIGIN)|$(COMPONENT)|$(REPO_URI)|$(RELEASE)' 'Created-By: Packages' |
		awk -F'|' '$1 == "Debian" && $2 == "main" {print $3, $4}' | sort -u
}

# apt in the root $1, in a mount namespace of its own: host's name resolution, nothing is left mounted.
apt_inside() {
	local root=$1
	shift
	ROOT=$root DEBS=$dir/debs "$(dirname "${BASH_SOURCE[0]}")/../private-mounts" \
		unshare --pid --fork --kill-child bash -eu -c '
		mkdir -p "$ROOT/var/cache/apt/archives" "$ROOT/run/lock"
		mount -t tmpfs tmpfs "$ROOT/run"
		mkdir -p "$ROOT/run/lock" "$ROOT/run/etc"
		for f in resolv.conf hosts; do
			[[ -e /etc/$f ]] || continue
			[[ -e $ROOT/etc/$f ]] || touch "$ROOT/etc/$f"
			cp -L "/etc/$f" "$ROOT/run/etc/$f"
			mount --bind "$ROOT/run/etc/$f" "$ROOT/etc/$f"
		done
		mount --bind "$DEBS" "$ROOT/var/cache/apt/archives"
		mount -t proc proc "$ROOT/proc"
		mount -t tmpfs tmpfs "$ROOT/tmp"
		export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin
		exec chroot "$ROOT" "$@"
	' apt_inside "$@"
}

# How this host fetches (proxies, certificates, dates), for apt inside $1.
borrow_apt_settings() {
	apt-config dump | grep -E '^Acquire::(http|https|ftp|Check-|Retries|Force)' >"$1/etc/apt/apt.conf.d/99host" || true
	echo 'Acquire::Languages "none"; APT::Install-Recommends "false"; DPkg::Options { "--force-confold"; };' \
		>>"$1/etc/apt/apt.conf.d/99host"
}
