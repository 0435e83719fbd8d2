package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"fwprov/e2e/lab"
)

// TestSoak does the same again and again: the power of the active node is cut, and a
// routed connection survives; a healthy pair is asked how it is, and nothing is wrong.
// FWPROV_SOAK is how many power cuts, five times as often it is asked.
func TestSoak(t *testing.T) {
	t.Parallel()
	cuts, asks := 5, 20
	if n, err := strconv.Atoi(os.Getenv("FWPROV_SOAK")); err == nil && n > 0 {
		cuts, asks = n, 5*n
	}
	r := up(t, "soak", lab.Debian, []byte(trafficInventory))
	r.apply()
	t.Run("verify", func(t *testing.T) { r.with(t).alwaysHealthy(asks) })
	t.Run("power cuts", func(t *testing.T) { r.with(t).powerCuts(cuts) })
}

// alwaysHealthy looks once each time: nothing has changed that would have to settle.
func (r *rig) alwaysHealthy(times int) {
	r.healthy()
	for i := range times {
		if out, errs, code := r.run(nil, "verify", "--once", "--quiet", r.file); code != 0 {
			r.t.Errorf("verify %d of %d: exit %d\n%s\n%s", i+1, times, code, out, errs)
		}
	}
}

// powerCuts cuts the power of whoever is active.
func (r *rig) powerCuts(times int) {
	for i := range times {
		active := r.holder(20 * time.Second)
		standby := r.pair.Peer(active).Name
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		t := r.send()
		if err := r.lab.PowerCut(ctx, active); err != nil {
			r.t.Fatal(err)
		}
		r.eventually(5*time.Second, standby+" holds all VIPs", func() string {
			if h := r.holders(); h[standby] != len(r.pair.VIPs()) {
				return fmt.Sprint(h)
			}
			return ""
		})
		f := t.end()
		for _, b := range f.broken {
			if strings.HasPrefix(b, "routed") {
				r.t.Errorf("power cut %d of %d, of %s: %s", i+1, times, active, b)
			}
		}
		if err := r.lab.PowerOn(ctx, active); err != nil {
			r.t.Fatal(err)
		}
		cancel()
		r.eventually(40*time.Second, "healthy again", func() string {
			if out, errs, code := r.run(nil, "verify", "--quiet", r.file); code != 0 {
				return out + errs
			}
			return ""
		})
	}
}
