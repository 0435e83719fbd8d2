package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"fwprov/provision"
	"fwprov/steps"
)

// statusView shows a status to people: what is wrong first, then everything else,
// in lines that fit.
type statusView struct {
	style   style
	zone    *time.Location
	columns int
}

// How much of what there may be hundreds of is listed.
const (
	someVIPs        = 6
	someServices    = 10
	someTransitions = 6
	someProblems    = 8
)

func (v statusView) render(st steps.Status) string {
	var b strings.Builder
	v.head(&b, st)
	for _, n := range st.Nodes {
		v.node(&b, st, n)
	}
	v.vips(&b, st)
	v.services(&b, st)
	v.transitions(&b, st)
	return b.String()
}

// line writes one line, cut to the width before it is painted.
func (v statusView) line(b *strings.Builder, paint func(string) string, format string, args ...any) {
	text := strings.ReplaceAll(provision.Printable(fmt.Sprintf(format, args...)), "\n", " ")
	if v.columns > 0 {
		text = cut(text, v.columns-1)
	}
	if paint != nil {
		text = paint(text)
	}
	b.WriteString(strings.TrimRight(text, " ") + "\n")
}

func (v statusView) head(b *strings.Builder, st steps.Status) {
	paint := map[provision.State]func(string) string{provision.Healthy: v.style.green, provision.Degraded: v.style.yellow, provision.Down: v.style.red}[st.State]
	who := "nobody is active"
	switch {
	case st.Active != "":
		who = st.Active + " is active"
	case len(holders(st)) > 1:
		who = list(holders(st)) + " are both active"
	case !allAnswer(st):
		who = "who is active is not known"
	}
	v.line(b, paint, "%s is %s, %s  %s", st.Cluster, st.State, who, st.Time.In(v.zone).Format("15:04:05"))
	if st.Since != nil {
		v.line(b, nil, "since %s (%s): %s", v.when(*st.Since, st.Time), ago(st.Time.Sub(*st.Since)), st.Why)
	}
	for i, p := range st.Problems {
		if i == someProblems {
			v.line(b, v.style.red, "! and %d more: fwprov verify", len(st.Problems)-i)
			break
		}
		where := ""
		if p.Node != "" {
			where = p.Node + ": "
		}
		text := p.Check + ": " + p.Detail
		if p.Check == "reach" {
			text = "does not answer" // the reason stands with the node
		}
		v.line(b, v.style.red, "! %s%s", where, text)
	}
}

// wrapped writes a text over as many lines as it takes.
func (v statusView) wrapped(b *strings.Builder, text string) {
	line := " "
	for _, w := range strings.Fields(provision.Printable(text)) {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) >= v.columns && line != " " {
			v.line(b, nil, "%s", line)
			line = " "
		}
		line += " " + w
	}
	v.line(b, nil, "%s", line)
}

// holders are the nodes that have VIPs.
func holders(st steps.Status) []string {
	var out []string
	for _, n := range st.Nodes {
		if n.Role == string(provision.Active) {
			out = append(out, n.Name)
		}
	}
	return out
}

func allAnswer(st steps.Status) bool {
	return !slices.ContainsFunc(st.Nodes, func(n steps.NodeStatus) bool { return n.Error != "" })
}

// when is a time of the day, with the date if that is another.
func (v statusView) when(t, now time.Time) string {
	t, now = t.In(v.zone), now.In(v.zone)
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// ago is a duration as one would say it.
func ago(d time.Duration) string {
	switch {
	case d < 0:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm %02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh %02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd %dh", int(d.Hours())/24, int(d.Hours())%24)
}

func (v statusView) node(b *strings.Builder, st steps.Status, n steps.NodeStatus) {
	b.WriteString("\n")
	role := n.Role
	if n.Detail != "" && n.Detail != role {
		role += ", " + n.Detail
	}
	v.line(b, v.style.bold, "%s  %s", n.Name, role)
	if n.Error != "" {
		v.wrapped(b, strings.TrimPrefix(n.Error, "node "+n.Name+": "))
		return
	}
	full := ""
	if n.MaxConnections > 0 {
		full = fmt.Sprintf(" of %d (%.1f%%)", n.MaxConnections, 100*float64(n.Connections)/float64(n.MaxConnections))
	}
	v.line(b, nil, "  connections %d%s", n.Connections, full)
	switch s := n.Sync; {
	case s == nil:
		v.line(b, v.style.red, "  sync        conntrackd does not answer")
	case n.Role == string(provision.Active):
		v.line(b, nil, "  sync        has %d of its own, %d of the peer; %s", s.Own, s.Peer, faults(s))
	default:
		v.line(b, nil, "  sync        knows %d of the peer, %d missing; %s", s.Peer, s.Missing, faults(s))
	}
	for _, i := range n.Interfaces {
		if i.Network != "outside" && i.Network != "inside" && i.Network != "sync" {
			continue // the VLANs' traffic is that of the trunk, and they are many
		}
		if !i.Up {
			v.line(b, v.style.red, "  %-8s %-7s down", i.Network, i.Name)
			continue
		}
		v.line(b, nil, "  %-8s %-7s in %9s/s %7s p/s   out %9s/s %7s p/s", i.Network, i.Name, octets(i.RxBps), packets(i.RxPps), octets(i.TxBps), packets(i.TxPps))
	}
}

func faults(s *steps.SyncStatus) string {
	if s.Errors == 0 && s.Lost == 0 {
		return "no errors"
	}
	return fmt.Sprintf("%s, %d lost", count(s.Errors, "error"), s.Lost)
}

// octets is a number of bytes with its unit.
func octets(n float64) string {
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if n < 1000 {
			if unit == "B" {
				return fmt.Sprintf("%.0f %s", n, unit)
			}
			return fmt.Sprintf("%.1f %s", n, unit)
		}
		n /= 1000
	}
	return fmt.Sprintf("%.1f TB", n)
}

func packets(n float64) string {
	if n < 1e5 {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.0fk", n/1000)
}

// vips lists addresses: first those that are not where they should be.
func (v statusView) vips(b *strings.Builder, st steps.Status) {
	b.WriteString("\n")
	var wrong, right []steps.VIPStatus
	for _, vip := range st.VIPs {
		if len(vip.Holders) == 1 && vip.Holders[0] == st.Active {
			right = append(right, vip)
		} else {
			wrong = append(wrong, vip)
		}
	}
	for i, vip := range append(wrong, right...) {
		if i == someVIPs && len(st.VIPs) > i+1 {
			v.line(b, nil, "%-12s  and %d more", "", len(st.VIPs)-i)
			return
		}
		title, where, paint := "", strings.Join(vip.Holders, " and "), v.style.red
		if i == 0 {
			title = "VIPs"
		}
		if i >= len(wrong) {
			paint = nil
		}
		if where == "" {
			where = "nowhere"
			if !allAnswer(st) {
				where = "not seen"
			}
		}
		v.line(b, paint, "%-12s  %-15s  %-8s  %s", title, vip.Address, vip.Interface, where)
	}
}

func (v statusView) services(b *strings.Builder, st steps.Status) {
	names := 0
	for _, s := range st.Services {
		names = max(names, utf8.RuneCountInString(s.Name))
	}
	for i, s := range st.Services {
		if i == 0 {
			b.WriteString("\nservices\n")
		}
		if i == someServices && len(st.Services) > i+1 {
			v.line(b, nil, "  and %d more", len(st.Services)-i)
			return
		}
		up := 0
		var down []string
		for _, srv := range s.Servers {
			if srv.Up {
				up++
			} else {
				down = append(down, srv.Name+" "+srv.State)
			}
		}
		text, paint := fmt.Sprintf("%d of %d servers up", up, len(s.Servers)), (func(string) string)(nil)
		if len(down) > 0 {
			text, paint = text+": "+strings.Join(down, ", "), v.style.red
		}
		v.line(b, paint, "  %-*s  %-21s  %-11s  %s", names, s.Name, s.Address, count(s.Sessions, "session"), text)
	}
}

func (v statusView) transitions(b *strings.Builder, st steps.Status) {
	list := st.Transitions
	if len(list) > someTransitions {
		list = list[len(list)-someTransitions:]
	}
	for i := len(list) - 1; i >= 0; i-- {
		if i == len(list)-1 {
			b.WriteString("\nlast transitions\n")
		}
		t := list[i]
		v.line(b, nil, "  %s  %s  %-7s  %s", v.when(t.Time, st.Time), t.Node, t.State, t.Why)
	}
}

// frame draws one text over another on a terminal.
type frame struct{ lines int }

// over returns what replaces the last text by this one. What does not fit is left
// out: it could not be erased.
func (f *frame) over(text string, rows int) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	if rows > 1 && len(lines) > rows-1 {
		lines = lines[:rows-1]
	}
	back := "\r"
	if f.lines > 0 {
		back = fmt.Sprintf("\x1b[%dA\r", f.lines)
	}
	f.lines = len(lines)
	return back + "\x1b[J" + strings.TrimSuffix(strings.Join(lines, ""), "\n") + "\n"
}
