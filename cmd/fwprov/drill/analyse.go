package drill

import (
	"cmp"
	"slices"
	"time"
)

// Sample is one thing that was sent, and what came back.
type Sample struct {
	Sent time.Time
	Back time.Time // zero: nothing
	Err  string    // why nothing came, if that is known
}

// Series are all samples of one target, in the order in which they were sent.
type Series struct {
	Vantage string
	Kind    Kind
	Target  string
	Name    string
	Every   time.Duration
	Samples []Sample
}

// late is the time after which an answer that comes counts as an outage, where
// probes are not further apart.
const late = 50 * time.Millisecond

// Find judges a series.
func Find(s Series) Found {
	f := Found{Vantage: s.Vantage, Kind: s.Kind, Target: s.Target, Name: s.Name, Every: Seconds(s.Every), Sent: len(s.Samples), Outages: []Span{}}
	for _, x := range s.Samples {
		if x.Back.IsZero() {
			f.Lost++
			if f.Said == "" {
				f.Said = x.Err
			}
			continue
		}
		f.Slowest = max(f.Slowest, Seconds(x.Back.Sub(x.Sent)))
	}
	f.Outages = append(f.Outages, Outages(s.Samples, s.Every)...)
	for _, o := range f.Outages {
		f.Longest = max(f.Longest, Seconds(o.Length()))
	}
	return f
}

// Outages are the times without answers. Each lasts from when the first probe was
// sent that had none in it until the next answer came, to whichever probe: so that
// probes that are answered late count like those that are lost, and a prober that
// pauses is no outage. What is answered within a moment, with nothing lost, is
// none. One that has not ended lasts until the last probe was sent.
func Outages(samples []Sample, every time.Duration) []Span {
	type answer struct {
		back time.Time
		i    int
	}
	var answers []answer
	for i, s := range samples {
		if !s.Back.IsZero() {
			answers = append(answers, answer{s.Back, i})
		}
	}
	slices.SortStableFunc(answers, func(a, b answer) int { return a.back.Compare(b.back) })
	var out []Span
	next := 0 // the first probe after all that an answer has come to
	var last time.Time
	for _, a := range answers {
		if next < len(samples) && samples[next].Sent.Before(a.back) {
			span := Span{samples[next].Sent, a.back}
			if span.From.Before(last) {
				span.From = last
			}
			lost := slices.ContainsFunc(samples[next:max(next, a.i)], func(s Sample) bool { return s.Back.IsZero() })
			if lost || span.Length() > max(late, every) {
				out = append(out, span)
			}
		}
		last = a.back
		next = max(next, a.i+1)
	}
	if next < len(samples) {
		out = append(out, Span{samples[next].Sent, samples[len(samples)-1].Sent})
	}
	return out
}

// Stalls are the exchanges over a connection that took long. The last one may have
// had no answer.
func Stalls(samples []Sample, end time.Time) []Span {
	out := []Span{}
	for _, s := range samples {
		span := Span{s.Sent, s.Back}
		if s.Back.IsZero() {
			span.To = end
		}
		if span.Length() > late {
			out = append(out, span)
		}
	}
	return out
}

// Longest is the length of the longest span.
func Longest(spans []Span) time.Duration {
	var d time.Duration
	for _, s := range spans {
		d = max(d, s.Length())
	}
	return d
}

// Move is an address that a node has got, or lost.
type Move struct {
	At    time.Time
	Node  string
	VIP   string
	Holds bool
}

// HeldBy makes of what each node had at first, as moves at begin, and of later moves
// who held what until end.
func HeldBy(moves []Move, begin, end time.Time) []Held {
	moves = slices.Clone(moves)
	slices.SortStableFunc(moves, func(a, b Move) int { return a.At.Compare(b.At) })
	out := []Held{}
	open := func(m Move) int {
		return slices.IndexFunc(out, func(h Held) bool { return h.Node == m.Node && h.VIP == m.VIP && h.To.IsZero() })
	}
	for _, m := range moves {
		if m.At.Before(begin) {
			m.At = begin
		}
		if m.At.After(end) {
			break
		}
		switch i := open(m); {
		case m.Holds && i < 0:
			out = append(out, Held{Node: m.Node, VIP: m.VIP, Span: Span{From: m.At}})
		case !m.Holds && i >= 0:
			out[i].To = m.At
		}
	}
	for i := range out {
		if out[i].To.IsZero() {
			out[i].To = end
		}
	}
	return out
}

// Gaps finds the longest time in which nobody held a VIP, and the longest in which
// both nodes surely did, given by how much their clocks may be wrong.
func Gaps(held []Held, vips []string, begin, end time.Time, uncertain time.Duration) (none, two Gap) {
	none.Within, two.Within = Seconds(uncertain), Seconds(uncertain)
	type edge struct {
		at time.Time
		by int
	}
	for _, vip := range vips {
		var edges []edge
		for _, h := range held {
			if h.VIP == vip {
				edges = append(edges, edge{h.From, 1}, edge{h.To, -1})
			}
		}
		// Of two at once the coming one is first: that nobody holds it takes time.
		slices.SortStableFunc(edges, func(a, b edge) int { return cmp.Or(a.at.Compare(b.at), b.by-a.by) })
		count, last := 0, begin
		for _, e := range append(edges, edge{at: end}) {
			switch d := Seconds(e.at.Sub(last)); {
			case count == 0 && d > none.Seconds:
				none.VIP, none.Seconds, none.From = vip, d, last
			case count > 1 && time.Duration(d) > uncertain && d > two.Seconds:
				two.VIP, two.Seconds, two.From = vip, d, last
			}
			count, last = count+e.by, e.at
		}
	}
	return none, two
}
