package drill

import (
	"fmt"
	"testing"
	"time"
)

// TestShown leaves out of many targets those that are not worth a line.
func TestShown(t *testing.T) {
	var all []Found
	for i := range mostShown + 3 {
		all = append(all, Found{Vantage: Here, Kind: Ping, Target: fmt.Sprintf("192.0.2.%d", i), Longest: Seconds(time.Duration(i%3) * time.Second)})
	}
	all = append(all, Found{Vantage: Here, Kind: Connect, Target: "192.0.2.1:25"}, Found{Vantage: "probe", Kind: Ping, Target: "192.0.2.1"})
	shown, left := Shown(all)
	if len(shown) != mostShown+2 || left != 3 {
		t.Fatalf("%d shown, %d left out", len(shown), left)
	}
	for i, p := range shown[:mostShown] {
		if i > 0 && p.Longest > shown[i-1].Longest {
			t.Errorf("%s is out for longer than the one before it", p.Target)
		}
	}
	if few, left := Shown(all[:3]); left != 0 || few[0].Target != "192.0.2.0" {
		t.Errorf("of few, %d are left out: %v", left, few)
	}
}

func TestMilli(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 ms", 182812 * time.Microsecond: "183 ms", 999900 * time.Microsecond: "1.00 s", 1234 * time.Millisecond: "1.23 s"} {
		if got := Milli(Seconds(d)); got != want {
			t.Errorf("%s: %s", d, got)
		}
	}
}

func TestTickStep(t *testing.T) {
	for d, want := range map[time.Duration]float64{300 * time.Millisecond: 0.05, 650 * time.Millisecond: 0.2, 1500 * time.Millisecond: 0.5, 8 * time.Second: 2, 40 * time.Second: 10} {
		step := tickStep(d)
		if n := d.Seconds() / step; n < 2.9 || n > 9 {
			t.Errorf("%s: %g, which is %g ticks", d, step, n)
		}
		if got := fmt.Sprint(step); got != fmt.Sprint(want) {
			t.Errorf("%s: %s, want %g", d, got, want)
		}
	}
}
