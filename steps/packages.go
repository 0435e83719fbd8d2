package steps

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
)

// packages installs the daemons, all in one transaction of the distribution's
// package manager, and starts none of them.
//
// What is installed is never upgraded. Later steps plan with the versions that
// the package manager would install; should it install others after all, the
// step fails before any file is written for the wrong version.
type packages struct {
	pair *inventories.Pair
	node inventories.Node
}

var (
	_ provision.Step = packages{}
	_ provision.Slow = packages{}
)

func (packages) Name() string { return "packages" }

// Timeout is that of a slow mirror.
func (packages) Timeout() time.Duration { return 10 * time.Minute }

// What is installed, in one order everywhere.
var (
	debianPackages = []string{"conntrack", "conntrackd", "haproxy", "iptables", "iptables-persistent", "keepalived", "netfilter-persistent"}
	elPackages     = []string{"conntrack-tools", "haproxy", "iptables-services", "keepalived"}
	debianQueried  = append(slices.Clone(debianPackages), "iputils-ping", "systemd")
	// elQueried are also looked for: who provides iptables-services, and iptables.
	// systemd is there, and its package tells its version.
	elQueried = []string{"conntrack-tools", "haproxy", "iptables", "iptables-legacy", "iptables-nft", "iptables-nft-services", "iptables-services", "iputils", "keepalived", "systemd"}
	// debianUnits start with their package on Debian unless they are masked.
	debianUnits = map[string]string{"conntrackd": "conntrackd.service", "haproxy": "haproxy.service",
		"iptables-persistent": "netfilter-persistent.service", "keepalived": "keepalived.service", "netfilter-persistent": "netfilter-persistent.service"}
)

// modulesExtra begins the name of the package that has the rest of a kernel's
// modules; its release ends it.
const modulesExtra = "kernel-modules-extra-"

// program is a daemon or tool whose version matters.
type program struct {
	name    string
	deb     string   // its package
	rpms    []string // its packages, the first that is there counts
	minimum string
}

var programs = []program{
	{"conntrackd", "conntrackd", []string{"conntrack-tools"}, "1.4.4"},
	{"haproxy", "haproxy", []string{"haproxy"}, "1.5"},
	{"iptables", "iptables", []string{"iptables-nft", "iptables-legacy", "iptables", "iptables-nft-services", "iptables-services"}, "1.4.21"},
	{"keepalived", "keepalived", []string{"keepalived"}, "1.3.5"},
}

func (s packages) Probe() provision.Probe {
	return provision.Probe{
		Units: debianUnitNames(debianPackages),
		Script: `
ID=; ID_LIKE=
for f in /etc/os-release /usr/lib/os-release; do [ -r $f ] && . $f && break; done
case " $ID $ID_LIKE " in *' rhel '*|*' centos '*|*' fedora '*) kin=rpm ;; *) kin=deb ;; esac
echo '== installed'
if [ $kin = deb ]; then
	q=$(dpkg-query -W -f='${db:Status-Status} ${Package} ${Version}\n' ` + strings.Join(debianQueried, " ") + `)
	need='` + strings.Join(debianPackages, " ") + `'
else
	q=$(rpm -q --qf 'installed %{NAME} %{VERSION}-%{RELEASE}\n' ` + strings.Join(elQueried, " ") + `)
	need='conntrack-tools haproxy keepalived'
fi
printf '%s\n' "$q"
echo '== iptables'
v=
for m in nft legacy; do
	for d in /usr/sbin /sbin; do [ $d/iptables -ef $d/xtables-$m-multi ] && v=$m; done
done
case $v in '') iptables -V ;; *) echo $v ;; esac
missing=
for p in $need; do
	case "
$q" in *"
installed $p "*) ;; *) missing=1 ;; esac
done
`,
		// A package manager takes its time.
		Once: `[ -n "$missing" ] || return 0
echo '== candidates'
if [ $kin = deb ]; then apt-cache policy ` + strings.Join(debianQueried, " ") + `
elif command -v dnf >/dev/null; then dnf -q -C --setopt=exit_on_lock=1 list --available ` + strings.Join(elQueried, " ") + `
else yum -q -C --setopt=exit_on_lock=1 list available ` + strings.Join(elQueried, " ") + `; fi
`,
		Parse: parsePackages,
	}
}

func parsePackages(output string, f provision.Facts) error {
	s := sections(output)
	installed := map[string]string{}
	for _, l := range s["installed"] {
		if w := strings.Fields(l); len(w) == 3 && w[0] == "installed" {
			installed[w[1]] = w[2]
			f[provision.Key("package", w[1])] = "yes"
		}
	}
	if installed["iptables-nft-services"] != "" {
		f["package iptables-services"] = "yes" // it provides that
	}
	for _, d := range programs {
		v := installed[d.deb]
		for _, name := range d.rpms {
			if v == "" {
				v = installed[name]
			}
		}
		if v = upstream(v); v != "" {
			f[provision.Key("version", d.name)] = v
		}
	}
	if v := digits(upstream(installed["systemd"])); v != "" {
		f["version systemd"] = v
	}
	switch first(s["iptables"]) {
	case "nft":
		f["variant iptables"] = "nf_tables"
	case "legacy":
		f["variant iptables"] = "legacy"
	}
	// iptables v1.8.9 (nf_tables); before 1.8 there was one kind only
	if w := strings.Fields(first(s["iptables"])); len(w) >= 2 && w[0] == "iptables" {
		f["version iptables"] = upstream(strings.TrimPrefix(w[1], "v"))
		f["variant iptables"] = "legacy"
		if len(w) == 3 && w[2] == "(nf_tables)" {
			f["variant iptables"] = "nf_tables"
		}
	}
	parseCandidates(s["candidates"], f)
	return nil
}

// parseCandidates reads apt-cache policy, or the words NAME.ARCH VERSION REPO
// of yum list, which breaks its lines where it likes.
func parseCandidates(lines []string, f provision.Facts) {
	set := func(name, version string) {
		if f.Get("package", name) == "" && strings.ContainsAny(version, "0123456789") && isVersion(version) {
			f[provision.Key("candidate", name)] = version
		}
	}
	name := ""
	var words []string
	for _, l := range lines {
		w := strings.Fields(l)
		words = append(words, w...)
		switch {
		case len(w) == 1 && strings.HasSuffix(l, ":"):
			name = strings.TrimSuffix(w[0], ":")
		case len(w) == 2 && w[0] == "Candidate:" && slices.Contains(debianQueried, name):
			set(name, w[1])
		}
	}
	for i := 0; i+1 < len(words); i++ {
		name, _, ok := cutLast(words[i], ".")
		if ok && slices.Contains(elQueried, name) {
			set(name, words[i+1])
		}
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// isVersion tells what can be the version of a package (deb-version(7), RPM's are
// written with no others).
func isVersion(v string) bool {
	return strings.Trim(v, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.+~:^_-") == ""
}

// upstream is the version of the program in that of its package:
// "1:2.2.7-1+b2" is 2.2.7. It is "" if that is none.
func upstream(v string) string {
	if !isVersion(v) {
		return ""
	}
	if _, rest, ok := strings.Cut(v, ":"); ok {
		v = rest
	}
	if i := strings.IndexAny(v, "-+~"); i >= 0 {
		v = v[:i]
	}
	return v
}

// missing lists what has to be installed.
func (s packages) missing(f provision.Facts) []string {
	var out []string
	need := elPackages
	if debian(f) {
		need = debianPackages
	}
	for _, p := range need {
		if f.Get("package", p) == "" {
			out = append(out, p)
		}
	}
	if f.Get("command", "ping") == "" {
		if debian(f) {
			out = append(out, "iputils-ping")
		} else {
			out = append(out, "iputils")
		}
	}
	// Enterprise Linux 10 keeps the kernel's side of iptables in a package of its own
	if !debian(f) && f.Get("os", "modules") != "" && f.Get("kernel", "xt_socket") == "" {
		out = append(out, modulesExtra+f.Get("kernel", "release"))
	}
	return out
}

// predicted is the version of a daemon that is not installed yet, "" if nobody
// knows.
func predicted(f provision.Facts, i int) string {
	d := programs[i]
	for _, name := range append([]string{d.deb}, d.rpms...) {
		if c := f.Get("candidate", name); c != "" {
			return upstream(c)
		}
	}
	// its lists of packages have not been fetched yet: what the distribution ships
	id, like, version := f.Get("os", "id"), f.Get("os", "like"), f.Get("os", "version")
	for _, x := range systems() {
		kin := x.id == id || x.id == "rhel" && enterprise(id, like)
		if major, _, _ := strings.Cut(x.version, "."); kin && (version == x.version || x.id == "rhel" && strings.HasPrefix(version+".", major+".")) {
			return map[string]string{"conntrackd": x.conntrackd, "haproxy": x.haproxy, "iptables": x.iptables, "keepalived": x.keepalived}[d.name]
		}
	}
	return ""
}

// versions are the versions of the programs by name as they are or will be.
func versions(f provision.Facts) provision.Facts {
	out := provision.Facts{}
	for i, d := range programs {
		key := provision.Key("version", d.name)
		if out[key] = f[key]; out[key] == "" {
			out[key] = predicted(f, i)
		}
	}
	return out
}

// findings are the reasons why what is installed or would be does not do.
func (s packages) findings(f provision.Facts) provision.Findings {
	var out provision.Findings
	if f.Get("os", "packages") == "" {
		return nil // said already
	}
	have := versions(f)
	for _, d := range programs {
		v := have.Get("version", d.name)
		switch {
		case v == "":
			out = append(out, provision.Finding{Summary: "nothing is known of a package for " + d.name,
				Hint: "fetch the lists of packages on the node (apt-get update, dnf makecache), or add a repository that has it"})
		case !versionAtLeast(v, d.minimum):
			out = append(out, provision.Finding{Summary: fmt.Sprintf("%s %s is older than %s", d.name, v, d.minimum),
				Hint: "upgrade the distribution"})
		}
	}
	if debian(f) && f.Get("os", "modules") != "" && f.Get("kernel", "xt_socket") == "" && s.transparent() {
		out = append(out, provision.Finding{Summary: "the kernel has no module xt_socket, which transparent services need",
			Hint: "install the distribution's complete kernel"})
	}
	return out
}

func (s packages) transparent() bool {
	return slices.ContainsFunc(s.pair.Services, func(v inventories.Service) bool { return v.Transparent })
}

func (s packages) Plan(f provision.Facts) ([]provision.Change, error) {
	if bad := s.findings(f); len(bad) > 0 {
		return nil, bad
	}
	var out []provision.Change
	if missing := s.missing(f); len(missing) > 0 {
		out = append(out, s.install(f, missing))
	}
	for _, u := range debianUnitNames(debianPackages) {
		state, load := provision.Key("unit", u, "UnitFileState"), provision.Key("unit", u, "LoadState")
		if f[state] == "masked-runtime" {
			out = append(out, provision.Change{Step: s.Name(), Target: u, Action: provision.Run,
				Why: "is masked until the next boot: an installation was cut off", From: f.Select(state),
				Makes: provision.Facts{load: "loaded"}, Script: "systemctl unmask --runtime " + u})
		}
	}
	return out, nil
}
