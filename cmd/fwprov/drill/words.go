package drill

import (
	"fmt"
	"slices"
	"time"
)

// What a report says in words, the same as text and on the page.

// Milli is a time to the millisecond.
func Milli(s Seconds) string {
	d := time.Duration(s).Round(time.Millisecond)
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// TookOver says whether the failover came about.
func TookOver(e Exercise) string {
	if e.Took {
		return e.Peer + " took over"
	}
	return e.Peer + " did not hold all VIPs when " + e.Node + " came back"
}

// Without says for how long nobody held a VIP, against what the timers allow.
func Without(e Exercise) string {
	allowed := "the timers allow " + Milli(e.Floor)
	if e.Most > e.Floor {
		allowed = fmt.Sprintf("the timers allow %s, %s if it falls silent", Milli(e.Floor), Milli(e.Most))
	}
	if e.None.Seconds == 0 {
		return "none was seen; " + allowed
	}
	return fmt.Sprintf("%s (%s); %s", Milli(e.None.Seconds), e.None.VIP, allowed)
}

// FoundSays tells what probes have found.
func FoundSays(f Found) string {
	lost := "lost"
	if f.Kind == Connect {
		lost = "failed"
	}
	text := fmt.Sprintf("%d of %d %s", f.Lost, f.Sent, lost)
	switch n := len(f.Outages); {
	case n == 0:
		text += ", no outage"
	case n == 1:
		text += ", out for " + Milli(f.Longest)
	default:
		text += fmt.Sprintf(", %d outages, the longest %s", n, Milli(f.Longest))
	}
	if f.Said != "" {
		text += " (" + f.Said + ")"
	}
	return text
}

// LineSays tells what became of a held connection.
func LineSays(l Line) string {
	switch {
	case l.Broken != "" && l.Kind == "proxied":
		return "broke, as it had to: " + l.Broken
	case l.Broken != "":
		return "broke: " + l.Broken
	case l.Talk == "idle":
		return "survived; nothing was said over it, so that stalls do not show"
	case len(l.Stalls) == 0:
		return "survived, and did not stall"
	}
	return "survived, stalled for " + Milli(l.Longest)
}

// StickSays tells whether a client stays with its server.
func StickSays(s Stick) string {
	switch {
	case s.Before == "" && s.After == "":
		return "has nothing about " + s.Client
	case s.Before == s.After:
		return s.Client + " stays with " + s.Before
	case s.Before == "":
		return s.Client + " had no server, and has " + s.After
	case s.After == "":
		return s.Client + " had " + s.Before + ", and has none"
	}
	return fmt.Sprintf("%s had %s, and has %s", s.Client, s.Before, s.After)
}

// mostShown is how many targets of a kind are shown: those with the longest outages.
const mostShown = 8

// Shown are the probes that are worth a line each, and how many targets are left
// out. Where there are few of a kind it is all of them, in their order.
func Shown(probes []Found) (shown []Found, left int) {
	type group struct {
		vantage string
		kind    Kind
	}
	var groups []group
	members := map[group][]Found{}
	for _, p := range probes {
		g := group{p.Vantage, p.Kind}
		if members[g] == nil {
			groups = append(groups, g)
		}
		members[g] = append(members[g], p)
	}
	for _, g := range groups {
		all := members[g]
		if len(all) > mostShown {
			slices.SortStableFunc(all, func(a, b Found) int { return int(b.Longest - a.Longest) })
			left += len(all) - mostShown
			all = all[:mostShown]
		}
		shown = append(shown, all...)
	}
	return shown, left
}

// Left says what is not shown.
func Left(n int) string { return fmt.Sprintf("and %d more, none of them out for longer", n) }

// Wholeness says whether the pair was seen to be whole again.
func Wholeness(e Exercise) string {
	after := fmt.Sprintf("as seen %.1f s after it came back", time.Duration(e.Healed).Seconds())
	switch {
	case e.Whole:
		return "yes, " + after
	case e.Healed > 0:
		return "no, " + after
	}
	return "was not looked at"
}
