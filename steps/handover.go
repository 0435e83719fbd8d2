package steps

import (
	"fmt"
	"strings"
	"time"

	"fwprov/provision"
)

// handover says of a change of a daemon what it means for who holds the VIPs:
// whether they have to be handed over first, and whether both nodes have to be
// changed together. It is written for the active node; the engine takes it out
// where it does not apply.
func (s services) handover(f provision.Facts, c *provision.Change) {
	peer := s.pair.Peer(s.node.Name)
	drain := fmt.Sprintf("the VIPs move to %s and stay there: about %s without them; routed connections survive, proxied ones end",
		peer.Name, about(skew(s.pair.VRRP, peer)))
	switch {
	case c.Target != "keepalived.service":
		if isRestart(c.Why) && c.Target == "haproxy.service" {
			c.Disruptive, c.Cost = true, drain
		}
		return
	case !isRestart(c.Why) && c.Why != whyReload:
		return
	}
	t := s.transition(f)
	switch {
	case len(t.differs) > 0:
		c.Together = strings.Join(t.differs, ", ")
		c.Cost = fmt.Sprintf("both nodes are changed together, without a standby meanwhile; the VIPs stay with %s, and nothing is interrupted", s.node.Name)
		if isRestart(c.Why) && s.keepsVIPs(f) {
			c.Script = strings.Replace(c.Script, restartOf(c.Target), killOf(c.Target)+restartOf(c.Target), 1)
		}
		if isRestart(c.Why) || t.anew {
			c.Disruptive = true
			c.Cost = fmt.Sprintf("both nodes are changed together, without a standby meanwhile; nobody holds the VIPs for the time of an election, about %s", about(electionTime(s.pair.VRRP, s.node)))
		}
	case t.anew:
		// The standby's new instance, which the active node does not have yet, lets the
		// sync group take over only at the end of an election of its own.
		c.Disruptive = true
		c.Cost = fmt.Sprintf("the VIPs move to %s and stay there: at most an election, about %s, without them; routed connections survive, proxied ones end",
			peer.Name, about(electionTime(s.pair.VRRP, peer)))
	case isRestart(c.Why):
		c.Disruptive, c.Cost = true, drain
	}
}

// killOf ends a keepalived whose peer does not take over meanwhile: its VIPs stay
// where they are until it starts again. One that is told to stop takes them away,
// and is gone a second later. The token means nothing to anybody, and another form
// does not have it.
func killOf(unit string) string {
	return "systemctl kill -s KILL " + unit + " || true\nip addr del " + heartbeatAddr + "/32 dev lo 2>/dev/null || true\n"
}

// keepsVIPs: all addresses that keepalived has now are VIPs of the inventory too,
// so that it knows them when it starts again and takes none for somebody else's.
func (s services) keepsVIPs(f provision.Facts) bool {
	conf, ok := f[provision.Key("content", keepalivedConf)]
	if !ok || f[runsDisk] == "" {
		return false // nobody knows what it has
	}
	known := map[string]bool{heartbeatAddr: true}
	for _, v := range s.pair.VIPs() {
		known[v.Addr.String()] = true
	}
	for _, addr := range allVIPs(conf) {
		if !known[addr] {
			return false
		}
	}
	return true
}

// about rounds a time for people.
func about(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// transition compares what keepalived runs with what it has to run. Where no
// unit of ours recorded what was loaded, it is taken to be the file that is
// there. If that file has changed since it was loaded, it may be anything.
func (s services) transition(f provision.Facts) transition {
	text, ok := f[provision.Key("content", keepalivedConf)]
	loaded := f.Get("loaded", "keepalived.service")
	switch {
	case loaded == keepalived(s).loaded(f), loaded == "" && !ok:
		return transition{}
	case !ok || loaded != "" && f[runsDisk] == "":
		return transition{differs: []string{"settings that cannot be known"}, anew: true}
	}
	want := s.pair.VRRP.Password.String()
	if s.pair.VRRP.Password.IsZero() {
		want = ""
	}
	return transit(readAgreement(text), readAgreement(string(keepalived(s).config(f, want))))
}

// planLeftDrain ends the drain of an apply that did not live to end it itself.
func (s services) planLeftDrain(f provision.Facts) []provision.Change {
	key := provision.Key("drain", "apply")
	if f[key] == "" {
		return nil
	}
	return []provision.Change{{Step: s.Name(), Target: drainRun, Action: provision.Delete, Why: "left by an apply that came to no end",
		From: f.Select(key), Makes: provision.Facts{key: ""}, Script: undrainScript(drainRun)}}
}

// drainFile is the file that drains the node.
func drainFile(kept bool) string {
	if kept {
		return drainKept
	}
	return drainRun
}

// Drain hands the VIPs over to the peer.
func (s services) Drain(kept bool, who string) string {
	return drainScript(s.pair, drainFile(kept), who)
}

// Undrain makes the node a standby again.
func (s services) Undrain(kept bool) string { return undrainScript(drainFile(kept)) }

// Holds succeeds where the node has a VIP, in force or of the inventory: a holder
// has them all.
func (s services) Holds() string { return holdsAny(s.pair.VIPs()[0]) + "holds\n" }

// heldBy tells the kept drain of an apply from that of an operator.
const heldBy = "an apply of "

// Hold drains the node as an operator would, unless one has.
func (s services) Hold(who string) string {
	return "[ -e " + drainKept + " ] || {\n" + drainScript(s.pair, drainKept, heldBy+who) + "}\n"
}

// Release ends what Hold has begun, and no drain of an operator.
func (services) Release() string {
	return "! grep -qs '^1 " + heldBy + "' " + drainKept + " || rm -f " + drainKept + "\n"
}

// Suspended are the facts of keepalived: it may be stopped to drain a node.
func (services) Suspended() []string {
	return []string{provision.Key("unit", "keepalived.service", "ActiveState"), provision.Key("loaded", "keepalived.service"),
		provision.Key("loaded", startRecord("keepalived.service")), provision.Key("drain", "apply")}
}

var _ provision.Undoer = keepalived{}

// Undo ends the drain of an apply: before keepalived is started where it does not
// track the file, and after all is as it was where it does, so that a node that
// is held does not take over with settings that its peer does not share.
func (keepalived) Undo() provision.Undo {
	return provision.Undo{
		Restore: "grep -qsF 'file \"" + drainRun + "\"' " + keepalivedConf + " || rm -f " + drainRun + "\n",
		Tidy:    "rm -f " + drainRun + "\n",
	}
}
