package steps

import (
	_ "embed"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"fwprov/inventories"
	"fwprov/provision"
)

// haproxy balances the services. Where the inventory has none it does not run
// and has no configuration.
type haproxy struct {
	pair *inventories.Pair
	node inventories.Node
}

var (
	_ provision.Renderer  = haproxy{}
	_ provision.Validator = haproxy{}
)

//go:embed haproxy.cfg.tmpl
var haproxyTemplate string

const (
	haproxyConf   = "/etc/haproxy/haproxy.cfg"
	haproxyDropIn = "/etc/systemd/system/haproxy.service.d/fwprov.conf"

	peersPort = inventories.PeersPort
	statPort  = 1348 // on loopback: show stat, show servers state
)

func (haproxy) Name() string { return "haproxy" }

// backendName is the name of a service's backend, as HAProxy's statistics have
// it.
func backendName(s inventories.Service) string { return s.Name }

// Files are the configuration, the drop-in of the unit, and before version 2.2
// the options file, which alone can name the local peer there.
func (s haproxy) Files(f provision.Facts) []provision.File {
	if len(s.pair.Services) == 0 {
		return nil
	}
	return append([]provision.File{
		{Path: haproxyConf, Content: s.config(f), Mask: maskHAProxy},
		{Path: haproxyDropIn, Content: s.dropIn(f)},
	}, s.options(f)...)
}

// maskHAProxy masks the passwords of a configuration that somebody else wrote.
func maskHAProxy(conf []byte) []byte {
	return haproxyPassword.ReplaceAll(conf, []byte("${1}"+inventories.Masked))
}

var haproxyPassword = regexp.MustCompile(`(\b(?:insecure-)?password[ \t]+|\bstats[ \t]+auth[ \t]+)\S+`)

// loaded is the hash of the configuration that the daemon has to have loaded,
// "" if it must not run.
func (s haproxy) loaded(f provision.Facts) string {
	if len(s.pair.Services) == 0 {
		return ""
	}
	return provision.LoadedHash(s.config(f))
}

// started is the hash of what says how the daemon is started.
func (s haproxy) started(f provision.Facts) string { return startedHash(s.dropIn(f), s.options(f)) }

// options is the options file, where it is needed.
func (s haproxy) options(f provision.Facts) []provision.File {
	if hasLocalPeer(f) {
		return nil
	}
	return optionsFile(f, "haproxy", "EXTRAOPTS", "OPTIONS", "-L "+s.pair.FQDN(s.node))
}

// hasLocalPeer: a node finds itself among the peers by its hostname, or by what
// it is told. If it does not, the section is dropped with a warning.
func hasLocalPeer(f provision.Facts) bool {
	return versionAtLeast(f.Get("version", "haproxy"), "2.2")
}

// countsFiles: as many connections as the limit of open files has room for,
// without being told. Earlier versions take 2000.
func countsFiles(f provision.Facts) bool { return versionAtLeast(f.Get("version", "haproxy"), "2.0") }

type haproxyPeer struct {
	Name    string
	Address netip.Addr
	Port    int
}

type haproxyService struct {
	inventories.Service
	Frontend, Backend string
	CheckOptions      []string
	CheckParams       string
}

func (s haproxy) config(f provision.Facts) []byte {
	version := f.Get("version", "haproxy")
	d := struct {
		Privileges         []string
		MaxConn            int
		HardStop, ExposeFD bool
		StatPort           int
		LocalPeer          string
		Peers              []haproxyPeer
		Services           []haproxyService
	}{
		Privileges: s.privileges(version),
		HardStop:   versionAtLeast(version, "1.8"),
		ExposeFD:   versionAtLeast(version, "1.8"),
		StatPort:   statPort,
	}
	if !countsFiles(f) {
		d.MaxConn = 20000
	}
	if hasLocalPeer(f) {
		d.LocalPeer = s.pair.FQDN(s.node)
	}
	for _, n := range s.pair.Nodes {
		d.Peers = append(d.Peers, haproxyPeer{s.pair.FQDN(n), n.Sync, peersPort})
	}
	for _, svc := range s.pair.Services {
		d.Services = append(d.Services, haproxyService{
			Service:      svc,
			Frontend:     fmt.Sprintf("%s-%d", svc.Name, svc.Port),
			Backend:      backendName(svc),
			CheckOptions: s.checkOptions(svc),
			CheckParams:  checkParams(svc),
		})
	}
	return render(haproxyTemplate, d)
}

// privileges are the lines that say as whom HAProxy runs. To connect under a
// client's address it needs CAP_NET_ADMIN as long as it runs. Up to 2.8 that
// means root: with a user it refuses to start, and its own check does not see
// it. Since 2.9 it can keep that one capability.
func (s haproxy) privileges(version string) []string {
	user := []string{"user haproxy", "group haproxy"}
	switch {
	case !s.pair.Transparent():
		return user
	case versionAtLeast(version, "2.9"):
		return append(user, "setcap cap_net_admin")
	}
	return nil
}

// checkOptions are the lines of a backend that say how its servers are asked.
func (s haproxy) checkOptions(svc inventories.Service) []string {
	if svc.Check == nil {
		return nil
	}
	switch svc.Check.Type {
	case "smtp":
		return []string{"option smtpchk EHLO " + s.pair.FQDN(s.node)}
	case "http":
		return []string{"option httpchk GET " + haproxyWord(svc.Check.Path)}
	}
	return nil
}

func checkParams(svc inventories.Service) string {
	c := svc.Check
	if c == nil {
		return ""
	}
	out := " inter " + millis(c.Interval)
	if c.FastInterval > 0 {
		out += " fastinter " + millis(c.FastInterval)
	}
	if c.Rise > 0 {
		out += fmt.Sprintf(" rise %d", c.Rise)
	}
	if c.Fall > 0 {
		out += fmt.Sprintf(" fall %d", c.Fall)
	}
	return out
}

// haproxyWord makes one word of s for a configuration of HAProxy.
func haproxyWord(s string) string {
	return strings.NewReplacer(`\`, `\\`, ` `, `\ `, `#`, `\#`, `"`, `\"`, `'`, `\'`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s)
}

func (s haproxy) dropIn(f provision.Facts) []byte {
	var b strings.Builder
	unit, service := restartForever(f)
	b.WriteString("# Managed by fwprov.\n[Unit]\nWants=network-online.target\nAfter=network-online.target " + divertUnit + "\n" + unit)
	b.WriteString("\n[Service]\n" + loadedLines("haproxy.service", true, haproxyConf, haproxyDropIn, s.options(f)...) + service)
	if countsFiles(f) {
		b.WriteString("LimitNOFILE=65536\n")
	}
	if versionAtLeast(f.Get("version", "systemd"), "233") {
		// The socket of the log, inside the chroot.
		b.WriteString("BindReadOnlyPaths=-/dev/log:/var/lib/haproxy/dev/log\n")
	}
	return []byte(b.String())
}

// Probe looks for the files, and for SELinux's word on the ports.
func (haproxy) Probe() provision.Probe {
	return provision.Probe{
		Files:  []string{haproxyConf, haproxyDropIn, "/etc/default/haproxy", "/etc/sysconfig/haproxy"},
		Script: "read -r now _ </sys/fs/selinux/booleans/haproxy_connect_any && echo \"connect $now\"\n",
		Parse: func(out string, f provision.Facts) error {
			switch strings.TrimSpace(out) {
			case "connect 1":
				f[provision.Key("selinux", "haproxy_connect_any")] = "on"
			case "connect 0":
				f[provision.Key("selinux", "haproxy_connect_any")] = "off"
			}
			return nil
		},
	}
}

// Plan wants the files, and under SELinux the permission to use ports that are
// not for the web.
func (s haproxy) Plan(f provision.Facts) ([]provision.Change, error) {
	out := provision.PlanFiles(f, s.Name(), s.Files(f)...)
	boolean := provision.Key("selinux", "haproxy_connect_any")
	if len(s.pair.Services) > 0 && enforcing(f) && f[boolean] != "on" {
		out = append(out, provision.Change{Step: s.Name(), Target: "SELinux boolean haproxy_connect_any", Action: provision.Run,
			Why: "services and peers are not on the ports of the web", From: f.Select(boolean), Makes: provision.Facts{boolean: "on"},
			Script: "setsebool -P haproxy_connect_any 1\n"})
	}
	return out, nil
}

// Validate lets HAProxy read its configuration. A warning is a failure: a
// dropped section is no more than that to HAProxy.
func (s haproxy) Validate(staged func(string) string) string {
	return "conf=" + provision.Quote(staged(haproxyConf)) + "\n" +
		// Before 2.2 the name comes by an option of the unit.
		"grep -q '^ *localpeer ' \"$conf\" || set -- -L " + provision.Quote(s.pair.FQDN(s.node)) + "\n" +
		`out=$(haproxy -c -f "$conf" "$@" 2>&1) || { printf '%s\n' "$out"; exit 1; }
case $out in *WARNING*|*ALERT*) printf '%s\n' "$out"; exit 1 ;; esac
`
}
