package steps

import (
	_ "embed"
	"net/netip"
	"path"

	"fwprov/inventories"
	"fwprov/provision"
)

// What no heartbeat tells: that a node hears its peer says nothing of whether it
// serves. In the default form keepalived runs two scripts every second. The first
// speaks for keepalived itself, so that systemd ends one that hangs, and puts a
// node in FAULT whose rules would not let VRRP through. The second puts one in
// FAULT that cannot do what its peer can, and never both: each asks the other,
// over the sync network, before it gives way. A socket of systemd's answers for a
// node; nothing of ours runs in the meantime.
const (
	peerPort    = inventories.PeerPort
	peerSocket  = "fwprov-peer.socket"
	peerService = "fwprov-peer@.service"
	unitFolder  = "/etc/systemd/system/"

	// watchdogSince is the version of systemd from which systemd-notify waits until
	// it was heard. Before, a process as short as that may be gone by then, and
	// nobody knows any more for which unit it spoke.
	watchdogSince = "246"
)

//go:embed alive.sh.tmpl
var aliveTemplate string

//go:embed serves.sh.tmpl
var servesTemplate string

// scriptsFolder is where keepalived's own scripts are: the policy of SELinux has a
// folder for them.
func scriptsFolder(f provision.Facts) string {
	if enforcing(f) {
		return path.Dir(labelledScript)
	}
	return path.Dir(keepalivedConf)
}

func aliveScript(f provision.Facts) string  { return scriptsFolder(f) + "/alive.sh" }
func servesScript(f provision.Facts) string { return scriptsFolder(f) + "/serves.sh" }

// watched: the form whose keepalived is looked after. The guide's stays as it is.
func (s keepalived) watched() bool { return s.pair.VRRP.Form == inventories.Single }

func hasWatchdog(f provision.Facts) bool {
	return versionAtLeast(f.Get("version", "systemd"), watchdogSince)
}

// watchdogLines let systemd end a keepalived that has said nothing for so long.
// The script speaks for it, and is not its main process.
func (s keepalived) watchdogLines(f provision.Facts) string {
	if !s.watched() || !hasWatchdog(f) {
		return ""
	}
	return "NotifyAccess=all\nWatchdogSec=" + seconds(s.pair.VRRP.Watchdog()) + "\nWatchdogSignal=SIGKILL\n"
}

// scriptsLine makes the unit another one where the scripts come: keepalived does
// not only read its configuration again then, it is started again. A master that
// is given scripts by a reload goes through FAULT and gives its VIPs away (2.2.7).
func (s keepalived) scriptsLine() string {
	if !s.watched() {
		return ""
	}
	return "# keepalived runs alive.sh and serves.sh.\n"
}

// script is one vrrp_script.
type script struct {
	Name, Path string
	Timeout    int // seconds; one that takes longer has failed
	Rise       int // how often it has to succeed until the node is not at fault any more
}

// scripts are those that keepalived runs.
func (s keepalived) scripts(f provision.Facts) []script {
	if !s.watched() {
		return nil
	}
	alive, serves := 2, 12
	if s.pair.VRRP.Profile == "vm" {
		alive, serves = 6, 20 // what the rules lack is seen at once all the same
	}
	// A gateway that answers now and then must not draw the VIPs to and fro.
	return []script{{"alive", aliveScript(f), alive, 1}, {"serves", servesScript(f), serves, 5}}
}

// waits are how long serves.sh waits, in seconds: for one ping, for several, for HAProxy,
// and for the peer. All of them together stay below the script's timeout.
type waits struct{ Ping, Pings, Reply, Peer string }

// waits of a host that stalls are longer: that is no fault.
func (s keepalived) waits() waits {
	if s.pair.VRRP.Profile == "vm" {
		return waits{"1.5", "3", "3", "3"}
	}
	return waits{"0.5", "0.9", "1", "2"}
}

// aliveFiles are the scripts and the units that answer the peer.
func (s keepalived) aliveFiles(f provision.Facts) []provision.File {
	if !s.watched() {
		return nil
	}
	serves := render(servesTemplate, struct {
		Run            string
		Gateway, Peer  netip.Addr
		Port, StatPort int
		Balances       bool
		Waits          waits
	}{provision.RunDir, s.pair.Outside.Gateway, s.pair.Peer(s.node.Name).Sync, peerPort, statPort, len(s.pair.Services) > 0, s.waits()})
	return []provision.File{
		{Path: aliveScript(f), Content: render(aliveTemplate, struct{ Watchdog bool }{hasWatchdog(f)}), Mode: 0o755},
		{Path: servesScript(f), Content: serves, Mode: 0o755},
		{Path: unitFolder + peerSocket, Content: []byte(peerSocketText)},
		{Path: unitFolder + peerService, Content: []byte(peerServiceText(f))},
	}
}

// peerSocketText listens on every address: the rules let only the peer in, and a
// new address needs no restart.
var peerSocketText = render(`# Managed by fwprov.
[Unit]
Description=Tells the other node of the pair whether this one could serve

[Socket]
ListenStream={{.}}
Accept=yes
MaxConnections=4

[Install]
WantedBy=sockets.target
`, peerPort)

func peerServiceText(f provision.Facts) string {
	return `# Managed by fwprov.
[Unit]
Description=Tells the other node of the pair whether this one could serve

[Service]
Type=oneshot
TimeoutStartSec=5
ExecStart=-/bin/sh ` + servesScript(f) + ` ready
StandardInput=null
StandardOutput=socket
StandardError=null
LogLevelMax=warning
`
}

// planPeerSocket wants the socket where there is something to tell.
func (s keepalived) planPeerSocket(f provision.Facts) []provision.Change {
	active, enabled := unitKeys(peerSocket)
	if s.watched() {
		c, ok := planUnit(f, peerSocket, "systemctl start "+peerSocket+"\n")
		if !ok {
			return nil
		}
		c.Step = s.Name()
		return []provision.Change{c}
	}
	if f[active] != "active" && f[enabled] == "" {
		return nil
	}
	return []provision.Change{{Step: s.Name(), Target: peerSocket, Action: provision.Delete, Why: "no script asks for it",
		From: f.Select(active, enabled), Makes: provision.Facts{active: "inactive", enabled: ""},
		Script: "systemctl disable --now " + peerSocket + "\n"}}
}
