package main

import (
	"fmt"
	"strings"
	"time"

	"fwprov/cmd/fwprov/drill"
	"fwprov/inventories"
	"fwprov/provision"
	"fwprov/steps"
)

// foretold says before a drill what it does and what it costs.
func foretold(p *inventories.Pair, ways []steps.Way, active string, down time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is active and the pair is healthy. A drill takes the active node down on purpose, %s each time:\n", active, down)
	for _, w := range ways {
		peer := p.Peer(active)
		bounds := steps.BoundsOf(p, w, peer)
		takes := fmt.Sprintf("%.2f s", bounds.Floor.Seconds())
		if bounds.Election > bounds.Floor {
			takes += fmt.Sprintf(" to %.2f s", bounds.Election.Seconds())
		}
		fmt.Fprintf(&b, "  %s, %s takes over: nobody holds the VIPs for about %s\n", w.Does(active), peer.Name, takes)
		active = peer.Name
	}
	b.WriteString("Connections through HAProxy break each time, and have to be made anew. Routed connections should survive.\n")
	fmt.Fprintf(&b, "%s has the VIPs afterwards. What is down puts itself back, even if this run is killed.\n", active)
	return b.String()
}

// drillView shows to people what a drill has found.
type drillView struct {
	style style
	zone  *time.Location
}

func (v drillView) render(rep drill.Report) string {
	var b strings.Builder
	for i, e := range rep.Exercises {
		if i > 0 {
			b.WriteString("\n")
		}
		v.exercise(&b, e)
	}
	for i, n := range rep.Notes {
		if i == 0 {
			b.WriteString("\nnot probed\n")
		}
		fmt.Fprintf(&b, "  %s\n", provision.Printable(n))
	}
	b.WriteString("\n")
	for _, p := range rep.Problems {
		where := ""
		if p.Node != "" {
			where = p.Node + ": "
		}
		fmt.Fprintf(&b, "  %s  %s: %s%s\n", v.style.red("FAIL"), p.Check, where, provision.Printable(p.Detail))
	}
	b.WriteString(v.verdict(rep.State) + "\n")
	return b.String()
}

// verdict says whether the pair is whole again.
func (v drillView) verdict(state string) string {
	switch provision.State(state) {
	case provision.Healthy:
		return v.style.bold(v.style.green("The pair is whole again: healthy."))
	case provision.Degraded:
		return v.style.bold(v.style.yellow("The pair is degraded: it serves, but a fault more would hurt."))
	case provision.Down:
		return v.style.bold(v.style.red("The pair is down."))
	}
	return v.style.bold(v.style.yellow("Whether the pair is whole again was not looked at: fwprov verify does."))
}

func (v drillView) exercise(b *strings.Builder, e drill.Exercise) {
	title := fmt.Sprintf("%s at %s: %s", e.Way, e.Down.In(v.zone).Format("15:04:05"), steps.Way(e.Way).Does(e.Node))
	b.WriteString(v.style.bold(title) + "\n")
	b.WriteString("  " + drill.TookOver(e) + "\n")
	if e.Error != "" {
		b.WriteString("  " + v.style.red(strings.ReplaceAll(provision.Printable(e.Error), "\n", "\n  ")) + "\n")
	}
	v.row(b, "no holder", drill.Without(e))
	if e.Two.Seconds > 0 {
		v.row(b, "two holders", v.style.red(drill.Milli(e.Two.Seconds)+" of "+e.Two.VIP))
	}
	shown, left := drill.Shown(e.Probes)
	for _, p := range shown {
		v.row(b, fmt.Sprintf("%s %s", p.Kind, p.Target), v.found(p))
	}
	if left > 0 {
		v.row(b, "", drill.Left(left))
	}
	for _, l := range e.Lines {
		text := drill.LineSays(l)
		if l.Kind == "routed" && l.Broken != "" {
			text = v.style.red(text)
		}
		v.row(b, l.Kind+" "+l.Target, provision.Printable(text))
	}
	for _, s := range e.Sticky {
		v.row(b, "stick table "+s.Service, provision.Printable(drill.StickSays(s)))
	}
	whole := drill.Wholeness(e)
	if !e.Whole {
		whole = v.style.red(whole)
	}
	v.row(b, "whole again", whole)
}

func (v drillView) row(b *strings.Builder, name, text string) {
	fmt.Fprintf(b, "  %-28s  %s\n", name, text)
}

func (v drillView) found(p drill.Found) string {
	text := provision.Printable(drill.FoundSays(p))
	if p.Vantage != drill.Here {
		text += ", from " + provision.Printable(p.Vantage)
	}
	return text
}
