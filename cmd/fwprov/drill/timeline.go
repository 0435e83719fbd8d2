package drill

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// The colours of the timeline, apart from each other in grey too.
const (
	colourHeld  = "#1d4ed8"
	colourWell  = "#bbf7d0"
	colourOut   = "#b91c1c"
	colourStall = "#f59e0b"
	colourDown  = "#e2e8f0"
	colourInk   = "#0f172a"
	colourFaint = "#475569"
)

// lane is one line of the timeline: a name and bars.
type lane struct {
	name string
	bars []bar
}

type bar struct {
	Span
	colour string
	says   string
}

// lanesOf says what is drawn of an exercise.
func lanesOf(e Exercise) []lane {
	var out []lane
	for _, node := range []string{e.Node, e.Peer} {
		l := lane{name: node + " holds the VIPs"}
		if node == e.Node {
			l.bars = append(l.bars, bar{Span{e.Down, e.Back}, colourDown, node + " is down"})
		}
		for _, s := range merged(e.Held, node) {
			l.bars = append(l.bars, bar{s, colourHeld, fmt.Sprintf("%s holds VIPs for %s", node, Milli(Seconds(s.Length())))})
		}
		out = append(out, l)
	}
	out = append(out, probeLanes(e)...)
	for _, c := range e.Lines {
		out = append(out, connectionLane(e, c))
	}
	return out
}

// merged are the times in which a node held any VIP.
func merged(held []Held, node string) []Span {
	var all, out []Span
	for _, h := range held {
		if h.Node == node {
			all = append(all, h.Span)
		}
	}
	slices.SortFunc(all, func(a, b Span) int { return a.From.Compare(b.From) })
	for _, s := range all {
		if n := len(out); n > 0 && !s.From.After(out[n-1].To) {
			if s.To.After(out[n-1].To) {
				out[n-1].To = s.To
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

func probeLanes(e Exercise) []lane {
	shown, left := Shown(e.Probes)
	var out []lane
	for _, p := range shown {
		l := lane{name: p.title(), bars: []bar{{Span{e.Begin, e.End}, colourWell, "answers"}}}
		for _, o := range p.Outages {
			l.bars = append(l.bars, bar{o, colourOut, "no answer for " + Milli(Seconds(o.Length()))})
		}
		out = append(out, l)
	}
	if left > 0 {
		out = append(out, lane{name: Left(left)})
	}
	return out
}

func connectionLane(e Exercise, c Line) lane {
	l := lane{name: c.Kind + " connection to " + c.Target, bars: []bar{{Span{e.Begin, e.End}, colourWell, "holds"}}}
	for _, s := range c.Stalls {
		l.bars = append(l.bars, bar{s, colourStall, "stalled for " + Milli(Seconds(s.Length()))})
	}
	if c.At != nil {
		l.bars = append(l.bars, bar{Span{*c.At, e.End}, colourOut, "broken: " + c.Broken})
	}
	return l
}

// closeUp is the time around the failover.
func closeUp(e Exercise) Span {
	last := e.Down.Add(time.Duration(e.Most))
	until := func(t time.Time) {
		if t.After(last) && t.Before(e.Back) {
			last = t
		}
	}
	for _, h := range e.Held {
		if h.Node == e.Peer {
			until(h.From)
		}
	}
	for _, p := range e.Probes {
		for _, o := range p.Outages {
			until(o.To)
		}
	}
	for _, c := range e.Lines {
		if c.At != nil {
			until(*c.At)
		}
		for _, s := range c.Stalls {
			until(s.To)
		}
	}
	margin := max(last.Sub(e.Down)/5, 50*time.Millisecond)
	s := Span{e.Down.Add(-margin), last.Add(margin)}
	if s.From.Before(e.Begin) {
		s.From = e.Begin
	}
	if s.To.After(e.End) {
		s.To = e.End
	}
	return s
}

// Sizes in pixels. Across, all is in per cent: so the drawing has the width of what
// shows it, and its letters have their size.
const (
	laneHeight = 32
	barHeight  = 11
	nameHeight = 14
	axisHeight = 30
)

// timeline draws lanes over a span.
func timeline(lanes []lane, e Exercise, window Span) string {
	var b strings.Builder
	height := len(lanes)*laneHeight + axisHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="100%%" height="%d" role="img" font-family="system-ui, sans-serif" font-size="12">`+"\n", height)
	fmt.Fprintf(&b, "<title>%s</title>\n", esc("Who held the VIPs, when probes failed, and when connections stalled"))
	axis(&b, e, window, height)
	for i, l := range lanes {
		y := i * laneHeight
		for _, r := range l.bars {
			from, to := max(window.place(r.From), 0), min(window.place(r.To), 100)
			if to < 0 || from > 100 || to < from {
				continue
			}
			fmt.Fprintf(&b, `<rect x="%s" y="%d" width="%s" height="%d" fill="%s"`, percent(from), y+nameHeight+2, percent(to-from), barHeight, r.colour)
			if r.colour == colourOut || r.colour == colourStall {
				fmt.Fprintf(&b, ` stroke="%s" stroke-width="1.5"`, r.colour) // a short one is seen too
			}
			fmt.Fprintf(&b, "><title>%s</title></rect>\n", esc(r.says))
		}
	}
	for _, t := range []time.Time{e.Down, e.Back} {
		if x := window.place(t); x >= 0 && x <= 100 {
			fmt.Fprintf(&b, `<line x1="%[1]s" x2="%[1]s" y1="0" y2="%[2]d" stroke="%[3]s" stroke-dasharray="4 3"/>`+"\n", percent(x), height-axisHeight+6, colourInk)
		}
	}
	for i, l := range lanes {
		// With a rim, so that no line runs through its letters.
		fmt.Fprintf(&b, `<text x="0" y="%d" fill="%s" stroke="#fff" stroke-width="3" paint-order="stroke">%s</text>`+"\n", i*laneHeight+nameHeight-2, colourInk, esc(l.name))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// place is where a time is across a span, in per cent.
func (s Span) place(t time.Time) float64 {
	return 100 * float64(t.Sub(s.From)) / float64(max(s.Length(), 1))
}

// axis draws the seconds since the node was taken down.
func axis(b *strings.Builder, e Exercise, window Span, height int) {
	step := tickStep(window.Length())
	for k := math.Ceil(window.From.Sub(e.Down).Seconds() / step); ; k++ {
		t := e.Down.Add(time.Duration(k * step * float64(time.Second)))
		if t.After(window.To) {
			break
		}
		x := window.place(t)
		fmt.Fprintf(b, `<line x1="%[1]s" x2="%[1]s" y1="0" y2="%[2]d" stroke="#e2e8f0"/>`+"\n", percent(x), height-axisHeight+6)
		anchor := "middle"
		switch {
		case x < 4:
			anchor = "start"
		case x > 96:
			anchor = "end"
		}
		fmt.Fprintf(b, `<text x="%s" y="%d" text-anchor="%s" fill="%s">%s</text>`+"\n", percent(x), height-8, anchor, colourFaint, tick(k*step, step))
	}
}

func percent(x float64) string { return fmt.Sprintf("%.2f%%", x) }

// tickStep is a round number of seconds, of which four to eight fit.
func tickStep(d time.Duration) float64 {
	step := math.Pow(10, math.Floor(math.Log10(max(d.Seconds(), 0.001)/4)))
	for _, f := range []float64{5, 2} {
		if d.Seconds()/(step*f) >= 3 {
			return step * f
		}
	}
	return step
}

func tick(t, step float64) string {
	digits := 0
	if step < 1 {
		digits = int(math.Ceil(-math.Log10(step) - 1e-9))
	}
	if math.Abs(t) < step/2 {
		return "0"
	}
	return fmt.Sprintf("%.*f", digits, t)
}
