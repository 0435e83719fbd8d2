# What both kinds of firewall machine have in common: a freshly installed server with firewalld.
. "$RECIPE/common.sh"

mmdebstrap --quiet --variant=minbase --format=directory \
	--include=systemd-sysv,dbus,openssh-server,sudo,firewalld,nftables,iproute2,iputils-ping,procps,diffutils,netbase,kmod,less \
	--aptopt='Acquire::Languages "none"' \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io \
	--skip=cleanup/apt/lists \
	bookworm "$ROOT"

# sshd's own log counts connections and commands: fast, and without a lookup of names.
cat >"$ROOT/etc/ssh/sshd_config.d/lab.conf" <<'END'
LogLevel VERBOSE
UseDNS no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
END

# An ordinary administrator beside root.
in_root useradd --create-home --uid 1000 --shell /bin/bash ops
echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' >"$ROOT/etc/sudoers.d/ops"
chmod 0440 "$ROOT/etc/sudoers.d/ops"
mkdir -p "$ROOT/var/log/journal"
