package steps

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"fwprov/provision"
)

// Transition is something that has happened to a node in VRRP.
type Transition struct {
	Time  time.Time `json:"time"`
	Node  string    `json:"node"`
	State string    `json:"state"` // master, backup, fault, or stopped
	Why   string    `json:"why"`
}

// journalLines bounds how much of the journal is read on a node, and how much of
// that it hands over.
const (
	journalLines = 3000
	journalKept  = 60
)

// journalScript prints what keepalived has said of states. systemd 219 does not
// know short-unix.
var journalScript = fmt.Sprintf(`said() { journalctl -q --no-pager -o $1 -n %d -t Keepalived -t Keepalived_vrrp; }
{ said short-unix || said short-iso; } | grep -e ' STATE' -e 'Netlink reports ' -e ': Stopping$' -e ': Starting Keepalived' -e 'received advert' -e '^[^(]*VRRP_Script([a-z]*) \(failed\|timed out\|timed_out\)' | tail -n %d | cut -c 1-300
`, journalLines, journalKept)

// scriptWhy is what it means that a script of keepalived's has failed.
var scriptWhy = []struct{ script, why string }{
	{"alive", "its rules let no VRRP through, or firewalld runs"},
	{"serves", "its peer reaches the gateway or balances, and it does not"},
}

// What keepalived says. Before 2.0 instances are named VRRP_Instance(NAME).
var (
	entering  = regexp.MustCompile(`^(?:VRRP_Instance)?\(([^()\s]+)\) Entering (MASTER|BACKUP|FAULT) STATE( \(init\))?$`)
	netlink   = regexp.MustCompile(`^Netlink reports (\S+) (down|up)$`)
	scripted  = regexp.MustCompile(`^VRRP_Script\(([a-z]+)\) (?:failed|timed[_ ]out)`)
	moreWorth = regexp.MustCompile(`^(?:VRRP_Instance)?\([^()\s]+\) (?:Master r|R)eceived advert from \S+ with higher priority`)
	journaled = regexp.MustCompile(`^(\S+) \S+ Keepalived(?:_vrrp)?\[\d+\]: (.*)$`)
)

// parseJournal makes facts of it: "journal N" is "MICROSECONDS WHAT", in order;
// and of each instance what it has been last, as if it had been asked.
func parseJournal(out string, f provision.Facts) {
	i := 0
	keep := func(at time.Time, what string) {
		f[provision.Key("journal", fmt.Sprintf("%04d", i))] = strconv.FormatInt(at.UnixMicro(), 10) + " " + what
		i++
	}
	for _, line := range strings.Split(out, "\n") {
		m := journaled.FindStringSubmatch(line)
		if m == nil || i >= journalKept {
			continue
		}
		at, ok := journalTime(m[1])
		if !ok {
			continue
		}
		switch said := m[2]; {
		case strings.HasPrefix(said, "Starting Keepalived"):
			for _, name := range f.Names("vrrp") {
				delete(f, provision.Key("vrrp", name))
			}
			keep(at, "start")
		case said == "Stopping":
			keep(at, "stop")
		case moreWorth.MatchString(said):
			keep(at, "outranked")
		case scripted.MatchString(said):
			keep(at, "script "+scripted.FindStringSubmatch(said)[1])
		case netlink.MatchString(said):
			w := netlink.FindStringSubmatch(said)
			keep(at, "link "+w[1]+" "+w[2])
		case entering.MatchString(said):
			w := entering.FindStringSubmatch(said)
			state := strings.ToLower(w[2])
			f[provision.Key("vrrp", w[1])] = state
			if w[3] != "" {
				state += " init"
			}
			keep(at, "state "+state)
		}
	}
}

// journalTime reads a time of journalctl: seconds with a fraction, or ISO 8601.
func journalTime(s string) (time.Time, bool) {
	if t, err := time.Parse("2006-01-02T15:04:05-0700", s); err == nil {
		return t, true
	}
	seconds, fraction, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseUint(seconds, 10, 36)
	micro, err2 := strconv.ParseUint(fraction, 10, 20)
	if err != nil || err2 != nil || len(fraction) != 6 {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(sec*1e6 + micro)), true
}

// heardLine is one line of a node's journal.
type heardLine struct {
	at   time.Time
	node string
	what string
}

// transitions puts together what the journals of both nodes say, the oldest first.
// Why a node has become master is in the journal of its peer, if anywhere.
func transitions(nodes map[string]provision.Facts) []Transition {
	var all []heardLine
	for name, f := range nodes {
		for _, key := range f.Keys("journal") {
			at, what, _ := strings.Cut(f[key], " ")
			if micro, err := strconv.ParseInt(at, 10, 64); err == nil {
				all = append(all, heardLine{time.UnixMicro(micro), name, what})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b heardLine) int {
		return cmp.Or(a.at.Compare(b.at), strings.Compare(a.node, b.node))
	})
	var out []Transition
	last := map[string]string{}
	for i, l := range all {
		kind, state, _ := strings.Cut(l.what, " ")
		switch kind {
		case "stop":
			state = "stopped"
		case "state":
		case "start":
			last[l.node] = "" // whatever it has been before
			continue
		default:
			continue
		}
		state, init, _ := strings.Cut(state, " ")
		if last[l.node] == state {
			continue // another instance of the same node
		}
		out = append(out, Transition{Time: l.at, Node: l.node, State: state, Why: whyState(all, i, state, last[l.node], init != "")})
		last[l.node] = state
	}
	return out
}

// Two nodes tell of the same event within this time, if their clocks agree.
const sameEvent = 4 * time.Second

func whyState(all []heardLine, i int, state, before string, init bool) string {
	l := all[i]
	near := func(ours bool, from, until time.Duration, match func(what string) bool) (heardLine, bool) {
		for j := len(all) - 1; j >= 0; j-- {
			d := all[j].at.Sub(l.at)
			if (all[j].node == l.node) == ours && d >= from && d <= until && match(all[j].what) {
				return all[j], true
			}
		}
		return heardLine{}, false
	}
	is := func(what string) func(string) bool { return func(s string) bool { return s == what } }
	downLink := func(s string) bool { return strings.HasPrefix(s, "link ") && strings.HasSuffix(s, " down") }
	link := func(h heardLine) string { return strings.Fields(h.what)[1] }
	switch state {
	case "stopped":
		return "keepalived was stopped"
	case "fault":
		if h, ok := near(true, -time.Second, time.Second/10, downLink); ok {
			return link(h) + " went down"
		}
		for _, s := range scriptWhy {
			if _, ok := near(true, -time.Second, time.Second/10, is("script "+s.script)); ok {
				return s.why
			}
		}
		return "drained, or a check failed"
	case "backup":
		switch {
		case init:
			return "started"
		case before == "fault":
			return "the fault is gone"
		case before == "master":
			return "another has a higher priority"
		}
		return "started"
	}
	peer := func(what string) bool { return strings.HasPrefix(what, "state fault") }
	if h, ok := near(false, -sameEvent, 0, peer); ok {
		for j := range all {
			if d := h.at.Sub(all[j].at); all[j].node == h.node && downLink(all[j].what) && d >= 0 && d < time.Second {
				return link(all[j]) + " of " + h.node + " went down"
			}
		}
		return h.node + " was drained, or a check of it failed"
	}
	if h, ok := near(false, -sameEvent, 0, is("stop")); ok {
		return "keepalived of " + h.node + " was stopped"
	}
	if h, ok := near(false, -sameEvent, sameEvent, is("outranked")); ok {
		return "has a higher priority than " + h.node
	}
	if h, ok := near(false, -time.Second, sameEvent, is("start")); ok && wasMaster(all, h.node, l.at) {
		return "keepalived of " + h.node + " died or was started anew"
	}
	return "heard nobody"
}

// wasMaster reports whether the last that a node had become before was master.
func wasMaster(all []heardLine, node string, before time.Time) bool {
	was := false
	for _, l := range all {
		if state, ok := strings.CutPrefix(l.what, "state "); ok && l.node == node && l.at.Before(before) && !strings.HasSuffix(state, " init") {
			was = state == "master"
		}
	}
	return was
}
