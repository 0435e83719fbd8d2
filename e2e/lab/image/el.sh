# A stand-in for Enterprise Linux 9, where its own packages cannot be had: the package manager, the
# paths, the units and the defaults of Enterprise Linux around binaries that Debian built.
. "$RECIPE/common.sh"

# The base may be older than what the repository has today.
in_root apt-get update -qq
# The tools of the machine, and the libraries of the daemons. The daemons themselves become RPMs.
apt_install network-manager dnf rpm createrepo-c cpio
apt_download /srv/debs keepalived conntrackd conntrack haproxy iptables ipset
mkdir -p "$ROOT/srv/daemons"
for name in keepalived conntrackd conntrack haproxy iptables ipset; do
	mv "$ROOT"/srv/debs/"$name"_*.deb "$ROOT/srv/daemons/$name.deb"
done
in_root sh -c 'dpkg --install /srv/debs/*.deb'

# The RPMs, built inside the tree by its own rpmbuild.
mkdir -p "$ROOT/etc/rpm"
echo '%_dbpath /var/lib/rpm' >"$ROOT/etc/rpm/macros.lab"
cp -r "$RECIPE/el" "$ROOT/srv/el"
in_root sh /srv/el/rpms.sh
rm -rf "$ROOT/srv/el" "$ROOT/srv/debs" "$ROOT/srv/daemons"

# Who the machine says it is.
cat >"$ROOT/usr/lib/os-release" <<'END'
NAME="fwprov stand-in for Enterprise Linux"
VERSION="9.4"
ID="fwprov-el"
ID_LIKE="rhel centos fedora"
VERSION_ID="9.4"
PLATFORM_ID="platform:el9"
PRETTY_NAME="fwprov stand-in for Enterprise Linux 9.4"
END
echo 'fwprov stand-in for Enterprise Linux release 9.4' >"$ROOT/etc/redhat-release"

# Packages come from the machine itself.
ln -sf dnf "$ROOT/usr/bin/yum"
mkdir -p "$ROOT/etc/yum.repos.d" "$ROOT/etc/sysconfig"
cat >"$ROOT/etc/dnf/dnf.conf" <<'END'
[main]
gpgcheck=1
installonly_limit=3
clean_requirements_on_remove=True
best=True
skip_if_unavailable=False
END
cat >"$ROOT/etc/yum.repos.d/lab.repo" <<'END'
[lab]
name=What an apply installs
baseurl=file:///srv/packages
gpgcheck=0
END
in_root dnf --quiet makecache

# NetworkManager runs all interfaces, from keyfiles, and names its services as Enterprise Linux does.
cat >"$ROOT/etc/NetworkManager/NetworkManager.conf" <<'END'
[main]
plugins=keyfile
no-auto-default=*
dns=none
END
rm -rf "$ROOT"/etc/init.d/* "$ROOT"/etc/rc?.d/*
rm -f "$ROOT/etc/systemd/system/sshd.service" "$ROOT/etc/systemd/system/multi-user.target.wants/ssh.service"
sed -i '/^Alias=/d' "$ROOT/lib/systemd/system/ssh.service"
mv "$ROOT/lib/systemd/system/ssh.service" "$ROOT/lib/systemd/system/sshd.service"
in_root systemctl --quiet enable sshd.service

# Nothing of Debian's package manager is left to be found.
in_root apt-get purge -qq -y createrepo-c
rm -rf "$ROOT"/usr/bin/apt* "$ROOT"/usr/bin/dpkg* "$ROOT"/etc/apt "$ROOT"/etc/dpkg "$ROOT"/var/lib/apt \
	"$ROOT"/var/cache/apt "$ROOT"/var/lib/dpkg "$ROOT"/usr/libexec/dpkg "$ROOT"/etc/debian_version \
	"$ROOT"/lib/systemd/system/apt-* "$ROOT"/lib/systemd/system/dpkg-* "$ROOT"/etc/systemd/system/*.wants/apt-* \
	"$ROOT"/etc/systemd/system/*.wants/dpkg-*
finish
