package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"fwprov/cmd/fwprov/drill"
	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/steps"
)

// someDrill has one of everything that a drill can find.
func someDrill() drill.Report {
	at := func(seconds float64) time.Time {
		return time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
	}
	span := func(from, to float64) drill.Span { return drill.Span{From: at(from), To: at(to)} }
	s := func(seconds float64) drill.Seconds { return drill.Seconds(seconds * float64(time.Second)) }
	broken, later := at(1.25), at(24)
	const vip, routed, proxied = "192.168.1.10", "10.10.2.1:7", "192.168.1.10:7"
	first := drill.Exercise{
		Way: "drain", Node: "fw01", Peer: "fw02", Begin: at(0), Down: at(1), Back: at(6), End: at(8), Floor: s(0.1828125), Most: s(0.1828125), Took: true,
		Held: []drill.Held{{Node: "fw01", VIP: vip, Span: span(0, 1.05)}, {Node: "fw02", VIP: vip, Span: span(1.24, 8)}},
		None: drill.Gap{VIP: vip, Seconds: s(0.19), From: at(1.05), Within: s(0.001)}, Two: drill.Gap{Within: s(0.001)},
		Probes: []drill.Found{
			{Vantage: drill.Here, Kind: drill.Ping, Target: vip, Every: s(0.01), Sent: 800, Lost: 19, Longest: s(0.195), Slowest: s(0.002), Outages: []drill.Span{span(1.055, 1.25)}},
			{Vantage: drill.Here, Kind: drill.Connect, Target: proxied, Name: "echo", Every: s(0.05), Sent: 160, Slowest: s(0.004), Outages: []drill.Span{}},
			{Vantage: "probe<1>", Kind: drill.Connect, Target: proxied, Name: "echo", Every: s(0.2), Sent: 40, Lost: 3, Longest: s(0.4), Outages: []drill.Span{span(1.1, 1.5), span(3, 3.2)}, Said: "connection refused"},
		},
		Lines: []drill.Line{
			{Kind: "routed", Target: routed, Name: "one", Talk: "echo", Longest: s(0.207), Stalls: []drill.Span{span(1.05, 1.257)}},
			{Kind: "proxied", Target: proxied, Name: "echo", Talk: "echo", Broken: "connection reset by peer", At: &broken, Stalls: []drill.Span{}},
		},
		Sticky: []drill.Stick{{Service: "echo", Client: "192.168.1.100", Before: "one", After: "one"}},
		Whole:  true, Healed: s(5.4),
	}
	second := drill.Exercise{
		Way: "interfaces", Node: "fw02", Peer: "fw01", Begin: at(20), Down: at(21), Back: at(26), End: at(28), Floor: s(0.1242), Most: s(1.0242),
		Error: "node fw02: put it back: not reached within 1m0s; it puts itself back",
		Held:  []drill.Held{{Node: "fw02", VIP: vip, Span: span(20, 28)}, {Node: "fw01", VIP: vip, Span: span(22, 28)}},
		Two:   drill.Gap{VIP: vip, Seconds: s(6), From: at(22), Within: s(0.001)},
		Probes: []drill.Found{
			{Vantage: drill.Here, Kind: drill.Ping, Target: vip, Every: s(0.01), Sent: 800, Outages: []drill.Span{}},
		},
		Lines: []drill.Line{
			{Kind: "routed", Target: "10.10.2.1:22", Name: "one", Talk: "idle", Broken: "no answer", At: &later, Stalls: []drill.Span{}},
			{Kind: "proxied", Target: proxied, Name: "echo", Talk: "idle", Stalls: []drill.Span{}},
		},
		Sticky: []drill.Stick{{Service: "echo", Client: "192.168.1.100", Before: "one", After: "two"}, {Service: "web", Client: "192.168.1.100"}},
		Healed: s(30),
	}
	return drill.Report{
		Cluster: "edge", Time: at(-1), Operator: "alice from admin1", State: "degraded", Exercises: []drill.Exercise{first, second},
		Problems: []drill.Problem{{Check: "one holder", Detail: "fw01 and fw02 have all VIPs"}, {Check: "vrrp", Node: "fw02", Detail: "GW is in \x1b[31mFAULT"}},
		Notes:    []string{"10.10.2.254 does not answer a ping from here, so that nothing is known of it"},
	}
}

func TestDrillView(t *testing.T) {
	rep := someDrill()
	golden(t, "drill.txt", drillView{zone: time.UTC}.render(rep))
	golden(t, "drill-colour.txt", drillView{style: style{true}, zone: time.UTC}.render(rep))
	page := drill.HTML(rep, time.UTC)
	golden(t, "drill.html", page)
	for _, word := range []string{"%!", "NaN", "probe<1>", "<script", "href=", "src=", "url(", "@import"} {
		if strings.Contains(page, word) {
			t.Errorf("the page has %q", word)
		}
	}
	var b bytes.Buffer
	if err := writeJSON(&b, rep); err != nil {
		t.Fatal(err)
	}
	golden(t, "drill.json", b.String())
	none := drill.Report{Cluster: "edge", Time: rep.Time, State: "unknown"}
	golden(t, "drill-none.txt", drillView{zone: time.UTC}.render(none))
	if page := drill.HTML(none, time.UTC); !strings.Contains(page, "was not looked at") {
		t.Errorf("a page of nothing:\n%s", page)
	}
}

func TestForetold(t *testing.T) {
	p := sample.Pair(1, 1, inventories.Single)
	golden(t, "drill-foretold.txt", foretold(p, steps.Ways(), "fw01", 5*time.Second))
}
