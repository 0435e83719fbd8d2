package steps

import (
	_ "embed"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
)

// keepalived holds the VIPs: it elects the active node, gives it the addresses
// and tells conntrackd what has become of it.
type keepalived struct {
	pair *inventories.Pair
	node inventories.Node
}

var (
	_ provision.Noticer   = keepalived{}
	_ provision.Renderer  = keepalived{}
	_ provision.Validator = keepalived{}
)

//go:embed keepalived.conf.tmpl
var keepalivedTemplate string

const (
	keepalivedConf   = "/etc/keepalived/keepalived.conf"
	keepalivedDropIn = "/etc/systemd/system/keepalived.service.d/fwprov.conf"

	// heartbeatToken is what instance HB advertises: version 3 wants an address
	// for every instance. It is on lo, so that no interface is tracked for it.
	heartbeatToken = heartbeatAddr + "/32 dev lo scope host"
	heartbeatAddr  = "169.254.77.1"
)

func (keepalived) Name() string { return "keepalived" }

// Files are the configuration, the drop-in and the options of the unit, the scripts
// that keepalived runs and the units that answer the peer's.
func (s keepalived) Files(f provision.Facts) []provision.File {
	conf := provision.File{Path: keepalivedConf, Content: s.config(f, s.pair.VRRP.Password.Reveal()), Mode: 0o600,
		Mask: func(conf []byte) []byte { return maskPasswords(conf, s.pair.VRRP.Password) }}
	if !s.pair.VRRP.Password.IsZero() {
		conf.Shown = s.config(f, s.pair.VRRP.Password.String())
	}
	return slices.Concat([]provision.File{conf, {Path: keepalivedDropIn, Content: s.dropIn(f)}}, s.options(f), s.aliveFiles(f))
}

// loaded is the hash of the configuration that the daemon has to have loaded.
func (s keepalived) loaded(f provision.Facts) string {
	return provision.LoadedHash(s.config(f, s.pair.VRRP.Password.Reveal()))
}

// started is the hash of what says how the daemon is started.
func (s keepalived) started(f provision.Facts) string {
	return startedHash(s.dropIn(f), s.options(f))
}

// options is the options file of a keepalived that is looked after. A VRRP child that
// was killed leaves its VIPs, and the next one takes them away at once, while the peer
// still waits for three adverts and the skew: all of 1.08 s without a holder. systemd
// takes a quarter of a second longer to start the whole again (2.2.7).
func (s keepalived) options(f provision.Facts) []provision.File {
	if !s.watched() {
		return nil
	}
	return optionsFile(f, "keepalived", "DAEMON_ARGS", "KEEPALIVED_OPTIONS", "--log-detail --dont-respawn")
}

// maskPasswords masks the passwords of a configuration, whoever wrote it, and
// tells one that is not ours from ours. What is masked already stays as it is.
func maskPasswords(conf []byte, ours inventories.Secret) []byte {
	return authPass.ReplaceAllFunc(conf, func(line []byte) []byte {
		m := authPass.FindSubmatch(line)
		masked := inventories.Masked
		switch value := strings.TrimSpace(string(m[2])); value {
		case ours.Reveal(), masked:
		default:
			masked += anotherPassword
		}
		return append(slices.Clone(m[1]), masked...)
	})
}

const anotherPassword = ", not the one of the inventory"

var authPass = regexp.MustCompile(`(auth_pass[ \t]+)([^\n]*)`)

// instance is one vrrp_instance.
type instance struct {
	Name, Interface string
	DontTrack       bool
	Source          netip.Addr // named where the interface is not tracked: it may lose its address with its cable
	VRID            int
	Advert          time.Duration
	Track           []string
	VIPs, Excluded  []string
}

func (s keepalived) config(f provision.Facts, password string) []byte {
	version := f.Get("version", "keepalived")
	all := s.instances(version)
	failover := failoverScript(f)
	keyword, files := trackFiles(f)
	notify := []string{
		`notify_master "` + failover + ` primary"`,
		`notify_backup "` + failover + ` backup"`,
		`notify_fault  "` + failover + ` fault"`,
	}
	if s.watched() {
		notify = append(notify, `notify        "`+servesScript(f)+`"`)
	}
	return render(keepalivedTemplate, struct {
		Node              string
		Version, Priority int
		Globals, Notify   []string
		Group             bool
		Password          string
		TrackFile         string // the keyword
		Files             []trackFile
		Scripts           []script
		Instances         []instance
	}{
		Node:     s.node.Name,
		Version:  s.pair.VRRP.Version,
		Priority: s.node.Priority,
		Globals:  keepalivedGlobals(version),
		Notify:   notify,
		// keepalived complains of a group of one.
		Group:     len(all) > 1,
		Password:  password,
		TrackFile: keyword,
		Files:     files,
		Scripts:   s.scripts(f),
		Instances: all,
	})
}

// keepalivedGlobals are the settings that not every version has. All but the
// first two exist because VRRP runs on other interfaces than the VIPs: a switch
// has to hear of a move on the VIP's own.
func keepalivedGlobals(version string) []string {
	var out []string
	for _, g := range []struct{ since, line string }{
		{"2.0.0", "dynamic_interfaces"},   // a missing VLAN is a fault, not a line that is skipped
		{"2.1.0", "max_auto_priority 50"}, // when it was not scheduled in time
		{"2.2.0", "reload_check_config"},  // with a broken file it would exit, and leave its VIPs
		{"", "vrrp_garp_master_refresh 60"},
		{"", "vrrp_garp_lower_prio_repeat 2"},
		{"2.2.4", "vrrp_garp_extra_if all 100"},
	} {
		if versionAtLeast(version, g.since) {
			out = append(out, g.line)
		}
	}
	return out
}

func (s keepalived) instances(version string) []instance {
	if s.pair.VRRP.Form == inventories.PerVLAN {
		return s.perVLAN()
	}
	return s.single(version)
}

// perVLAN is the guide's form: an instance for each address, all on the sync
// interface.
func (s keepalived) perVLAN() []instance {
	p := s.pair
	vips := p.VIPs()
	ext := instance{Name: "GWEXT", Interface: p.Sync.Interface, VRID: p.VRRP.FirstRouterID, Advert: p.VRRP.AdvertInterval,
		Track: []string{p.Outside.Interface}, VIPs: []string{address(vips[0])}}
	for _, v := range vips[1 : len(vips)-len(p.VLANs)] {
		ext.Excluded = append(ext.Excluded, address(v))
	}
	out := []instance{ext}
	for i, v := range p.VLANs {
		out = append(out, instance{Name: fmt.Sprintf("GW%03d", v.ID), Interface: p.Sync.Interface, VRID: v.VRID, Advert: p.VRRP.AdvertInterval,
			Track: []string{v.Interface}, VIPs: []string{address(vips[len(vips)-len(p.VLANs)+i])}})
	}
	return out
}

// single is the form in which a VLAN comes and goes without an election: one
// instance for all addresses, of which only the first is in the adverts. With
// two heartbeats a second instance on the sync interface is in the same sync
// group, which takes over only when both paths are silent. Before 2.0.8 a
// member that hears its peer again does not forget that it wanted to be master
// (commit 6a7ed768): there the sync path alone decides.
func (s keepalived) single(version string) []instance {
	p := s.pair
	vips := p.VIPs()
	gw := instance{Name: "GW", Interface: p.Sync.Interface, VRID: p.VRRP.FirstRouterID, Advert: p.VRRP.AdvertInterval, VIPs: []string{address(vips[0])}}
	for _, v := range vips[1:] {
		gw.Excluded = append(gw.Excluded, address(v))
	}
	onSync := slices.Contains(p.VRRP.Heartbeats, inventories.HeartbeatSync)
	onOutside := slices.Contains(p.VRRP.Heartbeats, inventories.HeartbeatOutside)
	if onSync && onOutside && !versionAtLeast(version, "2.0.8") {
		onOutside = false
	}
	if onOutside {
		gw.Interface, gw.Advert = p.Outside.Interface, p.VRRP.OutsideAdvertInterval
	} else {
		gw.Track = append(gw.Track, p.Outside.Interface)
	}
	for _, v := range p.VLANs {
		gw.Track = append(gw.Track, v.Interface)
	}
	if !onSync || !onOutside {
		return []instance{gw}
	}
	return []instance{gw, {Name: "HB", Interface: p.Sync.Interface, DontTrack: true, Source: s.node.Sync, VRID: p.VRRP.FirstRouterID + 1,
		Advert: p.VRRP.AdvertInterval, VIPs: []string{heartbeatToken}}}
}

func address(v inventories.VIP) string {
	return fmt.Sprintf("%s/%d dev %s", v.Addr, v.Bits, v.Interface)
}

// Notices tells of the heartbeat that this keepalived cannot have.
func (s keepalived) Notices(f provision.Facts) []string {
	version := f.Get("version", "keepalived")
	if version == "" || versionAtLeast(version, "2.0.8") || len(s.pair.VRRP.Heartbeats) < 2 {
		return nil
	}
	return []string{fmt.Sprintf("keepalived %s on %s cannot use two heartbeats (2.0.8 can): the sync network alone decides, so make it redundant", version, s.node.Name)}
}

// refuseOpen keeps a node without its rules from becoming active: After= alone
// is content with a unit that has failed. Restart= tries again.
const refuseOpen = `ExecStartPre=/bin/sh -c 'iptables -w -S INPUT | grep -qx -e "-P INPUT DROP" || { echo "the rules are not loaded: not taking part in VRRP"; exit 1; }'
`

// dropIn orders keepalived after everything that an active node needs, and
// brings it back if it dies: its VIPs stay on the interfaces then, while the
// peer takes them over.
func (s keepalived) dropIn(f provision.Facts) []byte {
	after := append([]string{"network-online.target"}, rulesUnits(f)...)
	after = append(after, divertUnit, "conntrackd.service", "haproxy.service")
	var b strings.Builder
	unit, service := restartForever(f)
	b.WriteString("# Managed by fwprov.\n[Unit]\nWants=network-online.target\nAfter=" + strings.Join(after, " ") + "\n" + drainConditions(f) + unit)
	b.WriteString("\n[Service]\n" + refuseOpen + loadedLines("keepalived.service", true, keepalivedConf, keepalivedDropIn, s.options(f)...) + service + "KillMode=mixed\n" + s.scriptsLine() + s.watchdogLines(f))
	return []byte(b.String())
}

func (keepalived) Probe() provision.Probe {
	return provision.Probe{Files: keepalivedFiles, Units: []string{peerSocket}, Script: drainProbe + inForceProbe,
		Parse: func(out string, f provision.Facts) error {
			parseDrain(out, f)
			parseInForce(out, f)
			if disk, _, _ := strings.Cut(f.Get("file", keepalivedConf), " "); disk != "" && disk == f.Get("loaded", "keepalived.service") {
				f[runsDisk] = "yes"
			}
			return nil
		}}
}

// keepalivedFiles are those that the step may write, wherever SELinux has them.
var keepalivedFiles = []string{keepalivedConf, keepalivedDropIn, "/etc/default/keepalived", "/etc/sysconfig/keepalived", unitFolder + peerSocket, unitFolder + peerService,
	path.Dir(keepalivedConf) + "/alive.sh", path.Dir(keepalivedConf) + "/serves.sh",
	path.Dir(labelledScript) + "/alive.sh", path.Dir(labelledScript) + "/serves.sh"}

// runsDisk is the fact that keepalived runs the file that was found.
const runsDisk = "runs " + keepalivedConf

// Plan wants the files. That the daemon runs them is the business of step
// services.
func (s keepalived) Plan(f provision.Facts) ([]provision.Change, error) {
	return append(provision.PlanFiles(f, s.Name(), s.Files(f)...), s.planPeerSocket(f)...), nil
}

// Validate lets keepalived read its configuration, from 2.0.5 on, which is the
// first that can, with other scripts in place of ours, which are not there yet. It
// does not tell of a script that others than root may write to, and then does not
// run it: the folders above are looked at here. The fail-over script itself is the
// business of step conntrackd.
func (s keepalived) Validate(staged func(string) string) string {
	return "conf=" + provision.Quote(staged(keepalivedConf)) + `
if keepalived --help 2>&1 | grep -q -e --config-test; then
	sed 's#^\( *script\) .*#\1 "/bin/true"#' "$conf" >"$conf.check"
	keepalived --config-test --use-file "$conf.check"
	rm -f "$conf.check"
fi
sed -n -e 's/^ *notify[_a-z]* *"\([^ "]*\).*/\1/p' -e 's/^ *script *"\([^ "]*\).*/\1/p' "$conf" | sort -u | while read -r path; do
	while path=$(dirname "$path") && [ "$path" != / ]; do
		case $(stat -c '%u %A' "$path" 2>/dev/null) in
		""|"0 "?????-??-?*) ;;
		*) echo "$path can be written to by others than root: keepalived would not run a script in it"; exit 1 ;;
		esac
	done
done
`
}
