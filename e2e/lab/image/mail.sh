# A mail exchanger: Postfix that takes mail for everybody and keeps all of it in one mailbox.
. "$RECIPE/common.sh"

# The base may be older than what the repository has today.
in_root apt-get update -qq
apt_install postfix
cat >"$ROOT/etc/postfix/main.cf" <<'END'
compatibility_level = 3.6
maillog_file = /var/spool/received/log
maillog_file_prefixes = /var
inet_interfaces = all
inet_protocols = ipv4
mydestination =
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtpd_relay_restrictions = reject_unauth_destination
virtual_mailbox_domains = static:all
virtual_mailbox_maps = static:all
virtual_mailbox_base = /var/spool/received
virtual_uid_maps = static:1000
virtual_gid_maps = static:1000
smtp_host_lookup = native
END
finish
