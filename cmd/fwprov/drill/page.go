package drill

import (
	"fmt"
	"html"
	"strings"
	"time"

	"fwprov/provision"
)

// HTML is a report as a page in one piece: nothing is fetched from elsewhere and
// nothing runs. It is as wide as what shows it, a phone or paper.
func HTML(r Report, zone *time.Location) string {
	var b strings.Builder
	title := fmt.Sprintf("Failover drill of %s, %s", r.Cluster, r.Time.In(zone).Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"+
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>%s</title>\n<style>\n%s</style>\n</head>\n<body>\n", esc(title), pageStyle)
	fmt.Fprintf(&b, "<h1>Failover drill of %s</h1>\n<p class=\"when\">%s, by %s</p>\n", esc(r.Cluster), esc(r.Time.In(zone).Format("2 January 2006, 15:04:05 MST")), esc(r.Operator))
	class, text := verdict(r.State)
	fmt.Fprintf(&b, "<p class=\"verdict %s\">%s</p>\n", class, text)
	list(&b, "", r.Problems, func(p Problem) string {
		if p.Node != "" {
			return p.Check + ": " + p.Node + ": " + p.Detail
		}
		return p.Check + ": " + p.Detail
	})
	b.WriteString(legend)
	for _, e := range r.Exercises {
		exercise(&b, e, zone)
	}
	list(&b, "Not probed", r.Notes, func(n string) string { return n })
	b.WriteString("</body>\n</html>\n")
	return b.String()
}

// esc makes text safe in the page. It may be what a server said.
func esc(s string) string { return html.EscapeString(provision.Printable(s)) }

func verdict(state string) (class, text string) {
	switch provision.State(state) {
	case provision.Healthy:
		return "good", "The pair is whole again: healthy."
	case provision.Degraded:
		return "poor", "The pair is degraded: it serves, but a fault more would hurt."
	case provision.Down:
		return "bad", "The pair is down."
	}
	return "poor", "Whether the pair is whole again was not looked at."
}

func list[T any](b *strings.Builder, title string, all []T, text func(T) string) {
	if len(all) == 0 {
		return
	}
	if title != "" {
		fmt.Fprintf(b, "<h2>%s</h2>\n", esc(title))
	}
	b.WriteString("<ul>\n")
	for _, x := range all {
		fmt.Fprintf(b, "<li>%s</li>\n", esc(text(x)))
	}
	b.WriteString("</ul>\n")
}

func exercise(b *strings.Builder, e Exercise, zone *time.Location) {
	fmt.Fprintf(b, "<section>\n<h2>%s of %s</h2>\n<p>At %s %s was taken down, and came back after %s. %s.</p>\n", esc(way(e.Way)), esc(e.Node),
		e.Down.In(zone).Format("15:04:05.000"), esc(e.Node), Milli(Seconds(e.Back.Sub(e.Down))), esc(TookOver(e)))
	if e.Error != "" {
		fmt.Fprintf(b, "<p class=\"verdict bad\">%s</p>\n", esc(e.Error))
	}
	lanes := lanesOf(e)
	near := closeUp(e)
	fmt.Fprintf(b, "<figure>\n%s<figcaption>The failover, close up. Seconds since %s was taken down.</figcaption>\n</figure>\n", timeline(lanes, e, near), esc(e.Node))
	fmt.Fprintf(b, "<figure>\n%s<figcaption>All of it.</figcaption>\n</figure>\n", timeline(lanes, e, Span{e.Begin, e.End}))
	b.WriteString("<table>\n")
	row := func(name, text string) {
		fmt.Fprintf(b, "<tr><th scope=\"row\">%s</th><td>%s</td></tr>\n", esc(name), esc(text))
	}
	row("no holder", Without(e))
	if e.Two.Seconds > 0 {
		row("two holders", Milli(e.Two.Seconds)+" of "+e.Two.VIP)
	}
	shown, left := Shown(e.Probes)
	for _, p := range shown {
		row(p.title(), FoundSays(p))
	}
	if left > 0 {
		row("", Left(left))
	}
	for _, l := range e.Lines {
		row(l.Kind+" connection to "+l.Target, LineSays(l))
	}
	for _, s := range e.Sticky {
		row("stick table "+s.Service, StickSays(s))
	}
	row("whole again", Wholeness(e))
	b.WriteString("</table>\n</section>\n")
}

func way(w string) string {
	switch w {
	case "drain":
		return "Drain"
	case "keepalived":
		return "Stop of keepalived"
	}
	return "All interfaces down: the end"
}

// title is how the probes of a target are called.
func (f Found) title() string {
	text := "pings of " + f.Target
	if f.Kind == Connect {
		text = "connections to " + f.Target
		if f.Name != "" {
			text += " (" + f.Name + ")"
		}
	}
	if f.Vantage != Here {
		text += ", from " + f.Vantage
	}
	return text
}

const pageStyle = `:root { color-scheme: light; }
body { font: 16px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #0f172a; background: #fff;
  max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: .5rem 0 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .25rem; }
p { margin: .5rem 0; }
.when, figcaption, .legend { color: #475569; font-size: .875rem; }
.verdict { padding: .5rem .75rem; border-left: .35rem solid; font-weight: 600; }
.good { border-color: #15803d; background: #f0fdf4; }
.poor { border-color: #b45309; background: #fffbeb; }
.bad { border-color: #b91c1c; background: #fef2f2; }
figure { margin: 1rem 0; }
svg { display: block; overflow: visible; }
.legend span { display: inline-block; white-space: nowrap; margin-right: 1rem; }
.legend i { display: inline-block; width: 1.4rem; height: .7rem; margin-right: .35rem; vertical-align: baseline; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .5rem .3rem 0; border-top: 1px solid #cbd5e1; }
th { font-weight: 500; width: 38%; }
@media print {
  @page { margin: 15mm; }
  html { font-size: 10pt; }
  body { font-size: 10pt; padding: 0; max-width: none; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  h2, figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
`

const legend = `<p class="legend"><span><i style="background:` + colourHeld + `"></i>holds the VIPs</span><span><i style="background:` + colourWell +
	`"></i>answers</span><span><i style="background:` + colourOut + `"></i>no answer, or broken</span><span><i style="background:` + colourStall +
	`"></i>stalled</span><span><i style="background:` + colourDown + `"></i>taken down on purpose</span></p>
`
