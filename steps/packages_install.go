package steps

import (
	"fmt"
	"slices"
	"strings"

	"fwprov/provision"
)

// install is the one transaction for all that is missing.
func (s packages) install(f provision.Facts, missing []string) provision.Change {
	c := provision.Change{Step: s.Name(), Target: strings.Join(missing, " "), Action: provision.Run, Why: "is not installed",
		From: provision.Facts{}, Makes: provision.Facts{}}
	if len(missing) > 1 {
		c.Why = "are not installed"
	}
	known := true
	for _, p := range missing {
		known = known && f.Get("candidate", p) != ""
		key := provision.Key("package", p)
		if strings.HasPrefix(p, modulesExtra) {
			key = "kernel xt_socket"
			c.Makes["module xt_socket"] = "yes"
		}
		c.From[key], c.Makes[key] = f[key], "yes"
		if strings.HasPrefix(p, "iputils") {
			c.Makes["command ping"] = "yes"
		}
	}
	want := versions(f)
	for _, d := range programs {
		if key := provision.Key("version", d.name); f[key] == "" && want[key] != "" {
			c.Makes[key] = want[key]
		}
	}
	if v := c.Makes["version iptables"]; v != "" {
		c.Makes["variant iptables"] = "legacy"
		if versionAtLeast(v, "1.8") {
			c.Makes["variant iptables"] = "nf_tables"
		}
	}
	if debian(f) {
		c.Script = aptScript(missing, known)
	} else {
		c.Script = rpmScript(f.Get("os", "packages"), missing)
	}
	c.Script += "\n" + checkVersions(f, c.Makes)
	return c
}

func quoteAll(words []string) string {
	var q []string
	for _, w := range words {
		q = append(q, provision.Quote(w))
	}
	return strings.Join(q, " ")
}

// debianUnitNames are the units of packages, sorted, each once.
func debianUnitNames(names []string) []string {
	var out []string
	for _, n := range names {
		if u := debianUnits[n]; u != "" {
			out = append(out, u)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// transaction runs a package manager to its end whatever becomes of the
// connection: cut off in the middle it would leave packages half installed.
// What it prints goes to a file, which is followed; if it fails, what it said of
// errors stands at the end. For half a minute it waits
// for another package manager to end: "patient COMMAND..." runs a command again
// while that holds its lock.
func transaction(script string) string {
	return `log=$(mktemp /tmp/fwprov.XXXXXXXXXX)
patient() {
	n=0
	until
		at=$(wc -c <"$log")
		"$@"
	do
		tail -c +$((at + 1)) "$log" | grep -qE 'lock-frontend|frontend lock|already locked|transaction lock|yum lock' || return 1
		[ $n -lt 6 ] || { echo "another package manager has held its lock for half a minute; nothing was installed: apply again when it is done"; exit 1; }
		n=$((n + 1))
		echo "waiting for the lock of the package manager"
		sleep 5
	done
}
(
trap '' HUP PIPE
` + strings.TrimRight(script, "\n") + `
) >"$log" 2>&1 &
pid=$!
tail -n +1 -f -s 0.2 --pid=$pid "$log" || true
rc=0
wait $pid || rc=$?
[ $rc -eq 0 ] || grep -E '^(E: |W: Failed|Error: )' "$log" | sort -u | tail -n 10 || true
rm -f "$log"
[ $rc -eq 0 ] || exit $rc
`
}

// aptScript installs. A unit that is masked is enabled by its package, but not
// started, not even by a boot after a loss of power. At the end it is disabled:
// nothing is to run that has not been given its configuration. The answers keep
// iptables-persistent from saving the rules of the moment.
func aptScript(names []string, listed bool) string {
	units := strings.Join(debianUnitNames(names), " ")
	var b strings.Builder
	w := func(lines ...string) { b.WriteString(strings.Join(lines, "\n") + "\n") }
	w("export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1",
		"apt() { apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \"$@\"; }")
	if units != "" {
		w("trap 'systemctl unmask "+units+" >/dev/null 2>&1; systemctl disable "+units+" >/dev/null 2>&1' EXIT",
			"trap 'exit 1' INT TERM",
			"systemctl mask "+units+" >/dev/null 2>&1")
	}
	if slices.Contains(names, "iptables-persistent") {
		w("printf 'iptables-persistent iptables-persistent/autosave_%s boolean false\n' v4 v6 | debconf-set-selections")
	}
	install := "patient apt install --fix-broken --no-install-recommends " + quoteAll(names)
	w("patient dpkg --configure -a")
	if listed {
		w(install + " || { apt update && " + install + "; }")
	} else {
		w("apt update", install)
	}
	return transaction(b.String())
}

// rpmScript installs with dnf or yum, which wait for ever unless they are told
// otherwise.
func rpmScript(manager string, names []string) string {
	return transaction("patient " + manager + " -y --setopt=exit_on_lock=1 install " + quoteAll(names))
}

// checkVersions stops the run if other versions came than were planned for.
func checkVersions(f, makes provision.Facts) string {
	var b strings.Builder
	for _, d := range programs {
		want := makes.Get("version", d.name)
		if want == "" {
			continue
		}
		query := "$(dpkg-query -W -f='${Version}' " + d.deb + ")"
		if !debian(f) {
			if d.name == "iptables" {
				query = "$(iptables -V | cut -d ' ' -f 2)"
			} else {
				query = "$(rpm -q --qf '%{VERSION}' " + d.rpms[0] + ")"
			}
		}
		fmt.Fprintf(&b, "v=%s; v=${v#v}; v=${v#*:}; v=${v%%%%[-+~]*}\n", query)
		fmt.Fprintf(&b, "[ \"$v\" = %s ] || { echo %s\"$v\"%s >&2; exit 1; }\n", provision.Quote(want), provision.Quote(d.name+" "),
			provision.Quote(" was installed where "+want+" was expected; run apply again to plan for it"))
	}
	return b.String()
}
