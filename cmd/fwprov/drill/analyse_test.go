package drill

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ms is a moment, in milliseconds after an arbitrary one.
func ms(n float64) time.Time {
	return time.UnixMicro(1_800_000_000_000_000 + int64(n*1000)).UTC()
}

// sent are samples sent every 10 ms, of which each is answered after so many
// milliseconds; -1: never.
func sent(after ...float64) []Sample {
	var out []Sample
	for i, a := range after {
		s := Sample{Sent: ms(float64(10 * i))}
		if a >= 0 {
			s.Back = s.Sent.Add(time.Duration(a * float64(time.Millisecond)))
		}
		out = append(out, s)
	}
	return out
}

func TestOutages(t *testing.T) {
	for _, tc := range []struct {
		name    string
		samples []Sample
		want    []Span
	}{
		{"nothing", nil, nil},
		{"all answered", sent(1, 1, 1, 1), nil},
		{"one lost", sent(1, -1, 1, 1), []Span{{ms(10), ms(21)}}},
		{"several lost", sent(1, -1, -1, -1, 2), []Span{{ms(10), ms(42)}}},
		{"twice", sent(-1, 1, -1, 1), []Span{{ms(0), ms(11)}, {ms(20), ms(31)}}},
		{"the last ones", sent(1, -1, -1), []Span{{ms(10), ms(20)}}},
		{"never", sent(-1, -1, -1), []Span{{ms(0), ms(20)}}},
		{"answered late, all at once", sent(1, 80, 70, 60, 50, 40, 30, 20, 10, 1), []Span{{ms(10), ms(90)}}},
		{"a little late", sent(1, 30, 20, 10, 1), nil},
		{"lost, and the next late", sent(1, -1, 15, 1), []Span{{ms(10), ms(31)}}},
		{"always on their way for longer than an interval", sent(35, 35, 35, 35, 35, 35, 35), nil},
		{"a late one comes after younger ones", sent(1, 45, 1, 1, 1, 1, 1), nil},
		{"the prober paused", []Sample{{Sent: ms(0), Back: ms(1)}, {Sent: ms(500), Back: ms(501)}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, Outages(tc.samples, 10*time.Millisecond)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestFind(t *testing.T) {
	samples := sent(1, -1, -1, 4, 1)
	samples[1].Err, samples[2].Err = "connection refused", "no answer"
	got := Find(Series{Vantage: Here, Kind: Connect, Target: "192.0.2.1:25", Name: "mail", Every: 10 * time.Millisecond, Samples: samples})
	want := Found{Vantage: Here, Kind: Connect, Target: "192.0.2.1:25", Name: "mail", Every: Seconds(10 * time.Millisecond), Sent: 5, Lost: 2,
		Longest: Seconds(24 * time.Millisecond), Slowest: Seconds(4 * time.Millisecond), Outages: []Span{{ms(10), ms(34)}}, Said: "connection refused"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestStalls(t *testing.T) {
	got := Stalls([]Sample{{Sent: ms(0), Back: ms(10)}, {Sent: ms(20), Back: ms(220)}, {Sent: ms(300)}}, ms(1000))
	if d := cmp.Diff([]Span{{ms(20), ms(220)}, {ms(300), ms(1000)}}, got); d != "" {
		t.Error(d)
	}
}

func TestHolders(t *testing.T) {
	const vip = "192.0.2.1"
	at := func(n float64, node string, holds bool) Move { return Move{ms(n), node, vip, holds} }
	held := func(node string, from, to float64) Held { return Held{node, vip, Span{ms(from), ms(to)}} }
	for _, tc := range []struct {
		name      string
		moves     []Move
		held      []Held
		none, two time.Duration
	}{
		{"nobody", nil, []Held{}, time.Second, 0},
		{"one all the time", []Move{at(0, "fw01", true)}, []Held{held("fw01", 0, 1000)}, 0, 0},
		{"a failover", []Move{at(0, "fw01", true), at(300, "fw02", true), at(100, "fw01", false)},
			[]Held{held("fw01", 0, 100), held("fw02", 300, 1000)}, 200 * time.Millisecond, 0},
		{"two at once", []Move{at(0, "fw01", true), at(100, "fw02", true), at(250, "fw01", false)},
			[]Held{held("fw01", 0, 250), held("fw02", 100, 1000)}, 0, 150 * time.Millisecond},
		{"two at once, or the clocks", []Move{at(0, "fw01", true), at(100, "fw02", true), at(104, "fw01", false)},
			[]Held{held("fw01", 0, 104), held("fw02", 100, 1000)}, 0, 0},
		{"at the same moment", []Move{at(0, "fw01", true), at(100, "fw01", false), at(100, "fw02", true)},
			[]Held{held("fw01", 0, 100), held("fw02", 100, 1000)}, 0, 0},
		{"told twice", []Move{at(0, "fw01", true), at(-50, "fw01", true), at(2000, "fw01", false)}, []Held{held("fw01", 0, 1000)}, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := HeldBy(tc.moves, ms(0), ms(1000))
			if d := cmp.Diff(tc.held, got); d != "" {
				t.Error(d)
			}
			none, two := Gaps(got, []string{vip}, ms(0), ms(1000), 5*time.Millisecond)
			if time.Duration(none.Seconds) != tc.none || time.Duration(two.Seconds) != tc.two {
				t.Errorf("none %v, two %v", none, two)
			}
		})
	}
}
