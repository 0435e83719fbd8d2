# Runs inside the tree: makes RPMs of Debian's binaries, with the units and files of Enterprise Linux.
set -eu
here=/srv/el
work=/srv/work
mkdir -p "$work" /srv/packages

# rpm NAME VERSION HEADERS SCRIPTS packs the tree in $work/NAME.
rpm_of() {
	stage=$work/$1
	{
		printf 'Name: %s\nVersion: %s\nRelease: 1.el9\nSummary: %s of the lab\nLicense: as upstream\nAutoReqProv: no\n%s\n' "$1" "$2" "$1" "$3"
		printf '%%description\nBuilt from the binaries of another distribution, for rehearsals.\n'
		printf '%%install\nmkdir -p %%{buildroot}\ncp -a %s/. %%{buildroot}/\n' "$stage"
		printf '%s\n%%files\n' "$4"
		(cd "$stage" && find . -mindepth 1 \( -type f -o -type l \) -printf '/%P\n' | sort) | while read -r path; do
			case $path in
			/etc/*) printf '%%config(noreplace) %s\n' "$path" ;;
			/usr/share/doc/*) printf '%%doc %s\n' "$path" ;;
			*) printf '%s\n' "$path" ;;
			esac
		done
		(cd "$stage" && find . -mindepth 1 -type d -empty -printf '%%dir /%P\n')
	} >"$work/$1.spec"
	rpmbuild --quiet -bb --define "_topdir $work/rpm" --define '_build_id_links none' --define 'debug_package %{nil}' \
		--define '__os_install_post %{nil}' --define 'dist .el9' "$work/$1.spec"
}

# version DEB is its upstream version.
version() {
	dpkg-deb --field "/srv/daemons/$1.deb" Version | sed 's/^[0-9]*://; s/-.*//'
}

unpack() {
	mkdir -p "$work/deb-$1"
	dpkg-deb --extract "/srv/daemons/$1.deb" "$work/deb-$1"
}

for name in keepalived conntrackd conntrack haproxy iptables ipset; do
	unpack "$name"
done
put() { # put STAGE MODE SOURCE TARGET
	install -D -m "$2" "$3" "$work/$1$4"
}
reload='%post
systemctl daemon-reload >/dev/null 2>&1 || :
%preun
[ "$1" -ne 0 ] || systemctl disable --now @ >/dev/null 2>&1 || :
%postun
systemctl daemon-reload >/dev/null 2>&1 || :'
scripts() { printf '%s\n' "$reload" | sed "s/@/$1/"; }

put keepalived 755 "$work/deb-keepalived/usr/sbin/keepalived" /usr/sbin/keepalived
put keepalived 755 "$work/deb-keepalived/usr/bin/genhash" /usr/bin/genhash
put keepalived 644 "$here/keepalived.service" /usr/lib/systemd/system/keepalived.service
put keepalived 644 "$here/keepalived.sysconfig" /etc/sysconfig/keepalived
put keepalived 644 "$here/keepalived.conf" /etc/keepalived/keepalived.conf
mkdir -p "$work/keepalived/usr/libexec/keepalived"
rpm_of keepalived "$(version keepalived)" '' "$(scripts keepalived.service)"

doc=/usr/share/doc/conntrack-tools/doc/sync
put conntrack-tools 755 "$work/deb-conntrack/usr/sbin/conntrack" /usr/sbin/conntrack
put conntrack-tools 755 "$work/deb-conntrackd/usr/sbin/conntrackd" /usr/sbin/conntrackd
(cd "$work/deb-conntrackd" && find usr/lib -name 'ct_helper_*' -type f) | while read -r helper; do
	put conntrack-tools 755 "$work/deb-conntrackd/$helper" "/$helper"
done
put conntrack-tools 644 "$here/conntrackd.service" /usr/lib/systemd/system/conntrackd.service
put conntrack-tools 644 "$here/conntrackd.conf" /etc/conntrackd/conntrackd.conf
put conntrack-tools 644 "$work/deb-conntrackd/usr/share/doc/conntrackd/examples/sync/primary-backup.sh" $doc/primary-backup.sh
rpm_of conntrack-tools "$(version conntrackd)" 'Provides: conntrack = 1.0-1' "$(scripts conntrackd.service)"

put haproxy 755 "$work/deb-haproxy/usr/sbin/haproxy" /usr/sbin/haproxy
put haproxy 644 "$here/haproxy.service" /usr/lib/systemd/system/haproxy.service
put haproxy 644 "$here/haproxy.sysconfig" /etc/sysconfig/haproxy
put haproxy 644 "$here/haproxy.cfg" /etc/haproxy/haproxy.cfg
mkdir -p "$work/haproxy/etc/haproxy/conf.d" "$work/haproxy/var/lib/haproxy"
rpm_of haproxy "$(version haproxy)" '' "%pre
getent group haproxy >/dev/null || groupadd -r -g 188 haproxy
getent passwd haproxy >/dev/null || useradd -r -u 188 -g haproxy -d /var/lib/haproxy -s /usr/sbin/nologin haproxy
$(scripts haproxy.service)"

put iptables-nft 755 "$work/deb-iptables/usr/sbin/xtables-nft-multi" /usr/sbin/xtables-nft-multi
for tool in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
	ln -s xtables-nft-multi "$work/iptables-nft/usr/sbin/$tool"
done
plugins=$(cd "$work/deb-iptables" && find usr/lib -type d -name xtables)
mkdir -p "$work/iptables-nft/$plugins"
cp -a "$work/deb-iptables/$plugins/." "$work/iptables-nft/$plugins/"
rpm_of iptables-nft "$(version iptables)" "Provides: iptables = $(version iptables)" ''

for family in iptables ip6tables; do
	put iptables-nft-services 755 "$here/iptables.init" /usr/libexec/iptables/$family.init
	put iptables-nft-services 600 "$here/$family.rules" /etc/sysconfig/$family
	put iptables-nft-services 600 "$here/iptables-config" /etc/sysconfig/$family-config
	sed "s/@FAMILY@/$family/g" "$here/iptables.service" >"$work/$family.service"
	put iptables-nft-services 644 "$work/$family.service" /usr/lib/systemd/system/$family.service
done
rpm_of iptables-nft-services "$(version iptables)" "Provides: iptables-services = $(version iptables)
Requires: iptables-nft" "$(scripts 'iptables.service ip6tables.service')"

put ipset 755 "$work/deb-ipset/usr/sbin/ipset" /usr/sbin/ipset
rpm_of ipset "$(version ipset)" '' ''

# What a minimal installation has: names only, so that the package manager knows of them.
cat >"$work/minimal.spec" <<'END'
Name: fwprov-el-release
Version: 9.4
Release: 1.el9
Summary: What a minimal installation knows as installed
License: as upstream
AutoReqProv: no
Provides: system-release = 9.4
Provides: system-release(releasever) = 9
%description
Names of packages whose files are here in another form.
%files
END
for name in bash=bash systemd=systemd firewalld=firewalld nftables=nftables openssh-server=openssh-server sudo=sudo \
	NetworkManager=network-manager iproute=iproute2 procps-ng=procps dnf=dnf rpm=rpm; do
	version=$(dpkg-query --show --showformat '${Version}' "${name#*=}" | sed 's/^[0-9]*://; s/-.*//; s/[^0-9.].*//')
	name=${name%=*}
	printf '%%package -n %s\nVersion: %s\nSummary: here in another form\n' "$name" "$version"
	[ "$name" != bash ] || printf 'Provides: /bin/sh\nProvides: /bin/bash\nProvides: /usr/bin/sh\n'
	printf '%%description -n %s\nHere in another form.\n%%files -n %s\n' "$name" "$name"
done >>"$work/minimal.spec"
rpmbuild --quiet -bb --define "_topdir $work/minimal" "$work/minimal.spec"
rpm --install --nodeps "$work"/minimal/RPMS/*/*.rpm

mv "$work"/rpm/RPMS/*/*.rpm /srv/packages/
createrepo_c --quiet --no-database /srv/packages
rm -rf "$work"
